"""Which variables of a Keras model a formula trains in the place of a learned rule."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import errors, registry
from l2o_tf.rules.assigned import Assigned
from l2o_tf.rules.base import UpdateRule

Predicate: TypeAlias = Callable[[Any], bool]
Choice: TypeAlias = str | Predicate | Sequence[str | Predicate]
Route: TypeAlias = Mapping[str, Choice]

PREDICATES: registry.Registry[bool] = registry.Registry("predicate on variables")
register = PREDICATES.register
MAIN = "rule"  # The name of the rule itself beside the formulas.


@register("biases")
def biases(variable) -> bool:
    """Whether it has fewer than two axes, as scales and offsets of normalisations, or is a bias."""
    return len(variable.shape) < 2 or _last_name(variable) == "bias"


@register("embeddings")
def embeddings(variable) -> bool:
    """Whether it is the table of an Embedding layer."""
    return _last_name(variable) == "embeddings"


class Router:
    """Gives each variable to the first formula of a route that wants it, else to the rule."""

    def __init__(self, route: Route):
        """Checks a route.

        Args:
            route: from a formula, such as "adam:0.001", to a predicate on variables: the name of a
                registered one, a function, or a list of these, of which one must hold.

        Raises:
            InputError: if there is no such formula or predicate.
        """
        if not isinstance(route, Mapping):
            raise errors.InputError(
                f"route={route!r} is no dictionary such as {{'adam:0.001': 'biases'}}"
            )
        self._formulas = {spec: _formula(spec) for spec in route}
        self._predicates = {spec: _predicates(choice) for spec, choice in route.items()}

    def assignment(self, variables: Sequence[Any]) -> list[str]:
        """The formula of each variable; `MAIN` for those of the rule itself."""
        return [self._one(variable) for variable in variables]

    def routed(self, rule: UpdateRule, variables: Sequence[Any]) -> UpdateRule:
        """The rule on some of the variables and formulas on the others.

        The weights of `rule` in the result are named as `own_weights` names them.
        """
        assignment = self.assignment(variables)
        used = {MAIN: rule, **self._formulas}
        return Assigned({name: used[name] for name in used if name in assignment}, assignment)

    def config(self) -> dict[str, list[str]]:
        """The route in JSON values.

        Raises:
            InputError: if a predicate is a function without a name in the registry.
        """
        return {
            spec: [_name(predicate, spec) for predicate in predicates]
            for spec, predicates in self._predicates.items()
        }

    def _one(self, variable):
        wanted = (
            spec
            for spec, predicates in self._predicates.items()
            if any(predicate(variable) for predicate in predicates)
        )
        return next(wanted, MAIN)


def own_weights(weights: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The weights of a rule by their names in `Router.routed`."""
    return {f"{MAIN}/{key}": value for key, value in weights.items()}


def _formula(spec) -> UpdateRule:
    names = rules.analytical_names()
    if not isinstance(spec, str) or spec.partition(":")[0] not in names:
        raise errors.InputError(
            f"route: {spec!r} is no formula, such as adam:0.001, of one of {', '.join(names)}"
        )
    return rules.from_spec(spec)


def _predicates(choice) -> list[Predicate]:
    is_one = isinstance(choice, str) or callable(choice) or not isinstance(choice, Sequence)
    choices = [choice] if is_one else list(choice)
    for one in choices:
        if not (isinstance(one, str) or callable(one)):
            raise errors.InputError(
                f"route: {one!r} is neither a function of a variable nor the name of one"
            )
    return [PREDICATES.get(one) if isinstance(one, str) else one for one in choices]


def _name(predicate: Predicate, spec: str) -> str:
    name = PREDICATES.name_of(predicate)
    if name is None:
        raise errors.InputError(
            f"the predicate of {spec!r} in route cannot be saved: give the function a name with"
            " @l2o_tf.keras_routing.register('my_name'), in a module that is imported before the"
            f" optimizer is loaded, or use one of {', '.join(PREDICATES.names())}"
        )
    return name


def _last_name(variable) -> str:
    path = getattr(variable, "path", None) or variable.name
    return path.split("/")[-1].partition(":")[0]
