"""What builds the updates of a step: gradients, their scaling and clipping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from graphgpu.errors import GraphError
from graphgpu.gradient import gradients as gradients_of
from graphgpu.graph import (
    Parameter,
    State,
    Stored,
    Variable,
    ancestors,
    current,
    inside,
)
from graphgpu.optim.arguments import check_free, checked_gradients, checked_others
from graphgpu.optim.averages import Average
from graphgpu.optim.clipping import clip_by_global_norm, clip_by_norm, clip_by_value
from graphgpu.optim.group import Group, Trained, grouped
from graphgpu.optim.hyperparameters import positive
from graphgpu.optim.loss_scaling import LossScale, Scale, Scaling

__all__ = ["CLIPS", "Slopes", "Updater", "updating"]

CLIPS = ("clip_by_value", "clip_by_norm", "clip_by_global_norm")
"""The limits of gradients, of which one may be given."""

Slopes = Mapping[Parameter, Variable]
"""The gradients, by parameter."""


@dataclass(eq=False)
class Updater(ABC):
    """Builds the updates of parameters that lower a loss. Abstract.

    What :class:`Optimizer` and :class:`Combined` share.

    Parameters
    ----------
    clip_by_value
        A limit for the magnitude of every element of the gradients.
    clip_by_norm
        A limit for the norm of each gradient.
    clip_by_global_norm
        A limit for the norm of all gradients of a call of :meth:`updates`.
    """

    clip_by_value: float | None = field(default=None, kw_only=True)
    clip_by_norm: float | None = field(default=None, kw_only=True)
    clip_by_global_norm: float | None = field(default=None, kw_only=True)
    _scaling: Scaling | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check what was given."""
        limits = {name: getattr(self, name) for name in CLIPS}
        given = {n: v for n, v in limits.items() if v is not None}
        if len(given) > 1:
            raise GraphError(
                "gradients are clipped by value, by norm or by their global norm, not "
                f"both; got {' and '.join(given)}; for both, pass the gradients that "
                "you clipped to updates()"
            )
        for name, value in given.items():
            positive(name, value)

    @property
    def loss_scale(self) -> State:
        """What the loss is multiplied by in the coming step, a float32 state.

        Gradients of your own are those of the loss times it.  It starts as the
        ``loss_scale`` of :meth:`updates` says, and is state of the optimiser, to be
        saved, once they are built with one.
        """
        if self._scaling is None:
            self._scaling = Scaling()
        return self._scaling.scale

    @property
    def skipped_steps(self) -> State:
        """How many steps were skipped, their gradients not being finite: an int64.

        Raises
        ------
        GraphError
            No updates were built with ``loss_scale``, so that no step is skipped.
        """
        if self._scaling is None or self._scaling.settings is None:
            raise GraphError(
                "expected an optimiser whose updates skip steps; build them with "
                "updates(..., loss_scale=...) before skipped_steps is read"
            )
        return self._scaling.skipped_steps

    def states(self) -> list[State]:
        """Return the optimiser's state, in the order in which it was made.

        All of it is there once the updates have been built, and can then be
        saved and loaded: ``gg.save(path, model, optimiser)``.
        """
        made = self.kept_states()
        if self._scaling is not None and self._scaling.settings is not None:
            made += self._scaling.states()
        return sorted(set(made), key=attrgetter("serial"))

    def updates(
        self,
        loss: Variable | None,
        parameters: Sequence[Trained],
        gradients: Sequence[Variable] | None = None,
        *,
        loss_scale: Scale | None = None,
        also: Mapping[Stored, Any] | None = None,
        averages: Average | Sequence[Average] = (),
    ) -> dict[Stored, Variable]:
        """Return the new values of the parameters and of the optimiser's state.

        They are the ``updates`` of :func:`graphgpu.compile`.  The state is made
        once: another call for the same parameters uses what there is.

        Parameters
        ----------
        loss
            The scalar to be lowered.
        parameters
            What is trained; a :class:`Group` of them has hyperparameters of its own.
        gradients
            Of the loss, one for each parameter in order, if they are not to be built
            here; then the loss is not looked at and may be None.  With
            ``loss_scale`` they are those of the loss times :attr:`loss_scale`.
        loss_scale
            For ``compile(precision="float16")``, in which small gradients become
            0: ``"dynamic"``, a :class:`LossScale`, or a power of two that stays.
            Gradients are computed of the loss times :attr:`loss_scale` and divided
            by it in float32, before they are clipped.  If one is not finite, the
            step is skipped: no parameter, no state of the optimiser, its counter
            of steps included, and nothing of ``also`` changes;
            :attr:`skipped_steps` counts it, and the scale is halved, unless it is
            fixed: a number, or a ``growth_interval`` of None.  Build the updates
            of a step by one call then: each skips by its own gradients.
            An optimiser has one scale: calls that give one give the same.  In a
            program with ``check_finite`` an overflow raises before it is skipped.
        also
            Other updates of the same step, such as ``gg.state_updates(scores)``,
            which are returned with these, and skipped with them.
        averages
            One or more averages of the weights, such as :class:`EMA`, which are updated
            in the same step: by the new values, and not if it is skipped.

        Raises
        ------
        GradientError
            The loss is no scalar, or does not depend on a parameter.
        GraphError
            Something is no parameter, or is there twice; the gradients do not
            fit, or are not of the scaled loss; the scale is no power of two, or
            not that of the updates before; ``also`` is no dict of updates; a group
            has a hyperparameter that the optimiser has not.

        Examples
        --------
        >>> import graphgpu as gg
        >>> w, x = gg.parameter("w", 1.0), gg.placeholder("x", ())
        >>> sgd = gg.optim.SGD(0.5)
        >>> updates = sgd.updates(w * x, [w], loss_scale="dynamic")
        >>> step = gg.compile([x], None, updates)
        >>> step(float("inf")), float(w.value), int(sgd.skipped_steps.value)
        (None, 1.0, 1)
        """
        groups = grouped(parameters)
        listed = [p for group in groups for p in group.parameters]
        settings = None if loss_scale is None else LossScale.of(loss_scale)
        scaling = None if settings is None else self._scaled_by(settings)
        others = checked_others(also)
        check_free(others, scaling.states() if scaling else ())
        if gradients is not None:
            slopes = checked_gradients(listed, gradients)
            if scaling and scaling.scale not in ancestors(slopes):
                raise GraphError(
                    "expected gradients of the scaled loss; multiply it by the "
                    "optimiser's loss_scale before they are built, or leave them out"
                )
        elif loss is None:
            raise GraphError("expected a loss, or its gradients")
        else:
            slopes = gradients_of(scaling.scaled(loss) if scaling else loss, listed)
        with updating(current().path):
            slopes = scaling.unscaled(slopes) if scaling else slopes
            clipped = dict(zip(listed, self.clipped(slopes), strict=True))
            updates = self.stepped(groups, clipped)
        check_free(others, updates)
        updates.update(others)
        for average in checked_averages(averages):
            updates.update(average.updates(updates))
        if scaling is None or settings is None:
            return updates
        with updating(current().path):
            updates = scaling.guarded(updates, slopes, settings.growth_interval)
        scaling.start(settings)  # now that nothing can fail
        return updates

    @abstractmethod
    def kept_states(self) -> list[State]:
        """Return the state that there is, but for that of loss scaling."""

    @abstractmethod
    def stepped(self, groups: Sequence[Group], slopes: Slopes) -> dict[Stored, Any]:
        """Return the new values of parameters, and of the state, by the gradients."""

    def clipped(self, slopes: Sequence[Variable]) -> list[Variable]:
        """Return the gradients, clipped as the optimiser is to."""
        if self.clip_by_value is not None:
            return clip_by_value(slopes, self.clip_by_value)
        if self.clip_by_norm is not None:
            return clip_by_norm(slopes, self.clip_by_norm)
        if self.clip_by_global_norm is not None:
            return clip_by_global_norm(slopes, self.clip_by_global_norm)
        return list(slopes)

    def _scaled_by(self, settings: LossScale) -> Scaling:
        """Return the state of loss scaling, made if it is not there."""
        scaling = self._scaling or Scaling()
        scaling.check(settings)
        self._scaling = scaling
        return scaling


def checked_averages(averages: Any) -> list[Average]:
    """Return the averages as a list."""
    listed = [averages] if isinstance(averages, Average) else list(averages)
    if not all(isinstance(a, Average) for a in listed):
        raise GraphError(
            f"expected averages such as gg.optim.EMA(parameters); got {averages!r}"
        )
    return listed


def updating(path: str) -> Any:
    """Create nodes in a scope, as part of the update."""
    return inside(replace(current(), path=path, phase="update", origin=None))
