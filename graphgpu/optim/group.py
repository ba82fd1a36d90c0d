"""Groups of parameters with hyperparameters of their own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, TypeAlias, final

from graphgpu.errors import GraphError
from graphgpu.graph import Parameter, describe
from graphgpu.optim.arguments import checked_list, has_parameters, shown

__all__ = ["Group", "Trained", "grouped"]


@final
class Group:
    """Parameters that are trained with hyperparameters of their own.

    Every hyperparameter of the optimiser may be given, by the name that it has
    there: the rate too, as a number, a variable or a schedule.  What is not given
    is the optimiser's.  Groups, and parameters in none, are what
    :meth:`~graphgpu.optim.Optimizer.updates` is given:

    >>> import graphgpu as gg
    >>> layer = gg.nn.Dense(3, 2)
    >>> loss = gg.mean(gg.square(layer(gg.placeholder("x", ("n", 3)))))
    >>> sgd = gg.optim.SGD(0.1, weight_decay=1e-4)
    >>> plain = gg.optim.Group([layer.bias], weight_decay=0.0, lr=0.2)
    >>> [v.path for v in sgd.updates(loss, [layer.weight, plain])]
    ['dense/weight', 'dense/bias']

    Clipping and loss scaling are of all gradients, and not of a group.

    Raises
    ------
    GraphError
        There is no parameter, or something is none.  That a name is no
        hyperparameter is said by the optimiser.
    """

    def __init__(self, parameters: Iterable[Parameter], **hyperparameters: Any) -> None:
        self.parameters = _checked(parameters)
        self.hyperparameters = hyperparameters
        if not self.parameters:
            raise GraphError(
                "expected a group of at least one parameter; got none; leave it out"
            )

    def __repr__(self) -> str:
        options = "".join(f", {k}={v!r}" for k, v in self.hyperparameters.items())
        return f"Group({[p.path for p in self.parameters]}{options})"


Trained: TypeAlias = Parameter | Group


def grouped(parameters: Any) -> list[Group]:
    """Return what is trained as groups, each parameter in one.

    Raises
    ------
    GraphError
        Something is no parameter, or is there twice.
    """
    groups: list[Group] = []
    for is_group, run in groupby(
        checked_list(parameters), lambda entry: isinstance(entry, Group)
    ):
        entries = list(run)
        groups += entries if is_group else [Group(entries)]
    listed = [p for group in groups for p in group.parameters]
    if len(set(listed)) != len(listed):
        twice = next(p for p in listed if listed.count(p) > 1)
        raise GraphError(f"{describe(twice)} is among the parameters twice")
    return groups


def _checked(parameters: Iterable[Any]) -> list[Parameter]:
    listed: list[Parameter] = []
    for parameter in checked_list(parameters):
        if not isinstance(parameter, Parameter):
            is_layer = has_parameters(parameter)
            cure = (
                "write *layer.parameters()" if is_layer else "use gg.parameter for it"
            )
            raise GraphError(
                f"only parameters are trained; got {shown(parameter)}; {cure}"
            )
        listed.append(parameter)
    return listed
