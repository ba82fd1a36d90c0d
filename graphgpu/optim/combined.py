"""Several optimisers as one, each for its own parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from graphgpu.errors import GraphError
from graphgpu.graph import Parameter, State, Stored, describe
from graphgpu.optim.group import Group
from graphgpu.optim.updater import Slopes, Updater

__all__ = ["Combined"]


@final
@dataclass(eq=False)
class Combined(Updater):
    """Optimisers that train one net together, each the parameters chosen for it.

    The loss is scaled, and clipping done, over all gradients at once; an overflow
    skips the step of all.  A clipping that an optimiser has of its own comes after,
    over its own parameters.  A group's hyperparameters are for the optimiser that
    its parameters have.

    Parameters
    ----------
    choose
        A function of a parameter, which returns its optimiser: one of a few that
        are made outside, so that it is the same one for the same parameter.
    clip_by_value, clip_by_norm, clip_by_global_norm
        As for an optimiser, over all gradients.

    Examples
    --------
    >>> import graphgpu as gg
    >>> muon, adamw = gg.optim.Muon(0.02), gg.optim.AdamW(1e-3)
    >>> both = gg.optim.Combined(lambda p: muon if p.ndim >= 2 else adamw)
    >>> layer = gg.nn.Dense(3, 2)
    >>> loss = gg.mean(gg.square(layer(gg.placeholder("x", ("n", 3)))))
    >>> updates = both.updates(loss, layer.parameters())
    >>> [s.path for s in both.states() if "bias" not in s.path]
    ['dense/weight/momentum', 'step']
    """

    choose: Callable[[Parameter], Updater]
    _chosen: dict[Parameter, Updater] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        """Check what was given."""
        Updater.__post_init__(self)
        if not callable(self.choose):
            raise GraphError(
                "expected choose to be a function of a parameter, which returns its "
                f"optimiser; got {self.choose!r}"
            )

    def kept_states(self) -> list[State]:
        """Return the state of all its optimisers, but for that of loss scaling."""
        parts = dict.fromkeys(self._chosen.values())
        return [s for part in parts for s in part.kept_states()]

    def stepped(self, groups: Sequence[Group], slopes: Slopes) -> dict[Stored, Any]:
        """Return what each optimiser makes of its own parameters."""
        shares: dict[Updater, list[Group]] = {}
        for group in groups:
            own: dict[Updater, list[Parameter]] = {}
            for parameter in group.parameters:
                own.setdefault(self._optimiser(parameter), []).append(parameter)
            for part, parameters in own.items():
                share = Group(parameters, **group.hyperparameters)
                shares.setdefault(part, []).append(share)
        updates: dict[Stored, Any] = {}
        for part, share_groups in shares.items():
            listed = [p for group in share_groups for p in group.parameters]
            clipped = part.clipped([slopes[p] for p in listed])
            own_slopes = dict(zip(listed, clipped, strict=True))
            updates.update(part.stepped(share_groups, own_slopes))
        return updates

    def _optimiser(self, parameter: Parameter) -> Updater:
        found = self.choose(parameter)
        if not isinstance(found, Updater) or found is self:
            raise GraphError(
                f"expected choose to return an optimiser for {describe(parameter)} "
                f"got {found!r}"
            )
        if self._chosen.setdefault(parameter, found) is not found:
            raise GraphError(
                f"choose returned another optimiser for {describe(parameter)} than "
                "before; make the optimisers outside of the function"
            )
        return found
