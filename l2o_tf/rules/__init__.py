"""Update rules by name: `create("adam", learning_rate=0.01)`, `from_spec("adam:0.01")`."""

import contextlib
import inspect
import json
from collections.abc import Iterator
from typing import Any, cast

import sonnet as snt
import tensorflow as tf

from l2o_tf.core import errors, plugins, seeds

# Importing a rule fills the registry; messages name the paper's rules first.
# isort: off
from l2o_tf.rules import lstm, rnnprop, hierarchical_rnn, scale_small, mlp, analytical  # noqa: F401
from l2o_tf.rules import base, option_types
from l2o_tf.rules.base import RULES, CoordinatewiseRule, UpdateRule, Weights, register

# isort: on

__all__ = [
    "CoordinatewiseRule",
    "UpdateRule",
    "analytical_names",
    "create",
    "create_learned",
    "find",
    "from_spec",
    "learned_names",
    "names",
    "recipe",
    "register",
    "symbolic",
    "symbolic_weights",
    "tunable_names",
    "with_options",
]

names = RULES.names


def create(name: str, *args: Any, **options: Any) -> UpdateRule:
    """Creates a rule.

    Args:
        name: its name.
        *args: the first arguments of its class, such as the seed of a learned one.
        **options: the others, as `options()` returns them.

    Raises:
        InputError: for an unknown name, and options of another type or out of their range.
    """
    option_types.check(name, options, _rule_class(name).option_parameters())
    return RULES.create(name, *args, **options)


@contextlib.contextmanager
def symbolic() -> Iterator[None]:
    """Lets rules be created for the shapes of their weights, which take no memory then.

    What a person types and what a damaged file holds may ask for more than there is.
    """
    snt.Module()  # Sonnet checks with the first module of a process that TensorFlow is eager.
    with tf.Graph().as_default():
        yield


def symbolic_weights(name: str, **options: Any) -> Weights:
    """The weights of the rule that `create` makes of this, see `symbolic`."""
    with symbolic():
        return create(name, **options).weights()


def _rule_class(name: str) -> type[UpdateRule]:
    return cast(type[UpdateRule], RULES.get(name))  # `register` takes classes only.


def learned_names() -> list[str]:
    """The names of the rules that have weights to train."""
    return [name for name in names() if _rule_class(name).learned]


def analytical_names() -> list[str]:
    """The names of the rules without weights."""
    return [name for name in names() if not _rule_class(name).learned]


def tunable_names() -> list[str]:
    """The names of the analytical rules that take a learning rate."""
    return [
        name
        for name in analytical_names()
        if "learning_rate" in inspect.signature(_rule_class(name).__init__).parameters
    ]


def find(name: str) -> str:
    """The registered name of a rule that a person typed.

    Args:
        name: that name, or "module:Class", which is imported.

    Raises:
        InputError: if there is no such rule, or the class has no name.
    """
    if ":" not in name:
        RULES.get(name)
        return name
    remedy = "define a class {} of l2o_tf.rules.UpdateRule"
    registered = RULES.name_of(plugins.attribute(name, "update rule", "Class", remedy))
    if registered is None:
        raise errors.InputError(
            f"{name} is no registered rule: put @l2o_tf.rules.register and a name above the class"
        )
    return registered


def recipe(name: str) -> tuple[int, int]:
    """The epochs in all and per period of a rule's training without a curriculum, see `find`."""
    found = find(name)
    return RULES.fact(found, "num_epochs"), RULES.fact(found, "period_epochs")


def create_learned(name: str, seed: seeds.Seed, **options: Any) -> UpdateRule:
    """Creates a rule with fresh weights drawn from `seed`, int32 [2].

    Args:
        name: the name of a rule that is learned.
        seed: what the weights are drawn from.
        **options: arguments of the rule, as its `options()` returns them.

    Raises:
        InputError: for an unknown name, a rule that has nothing to learn or unknown options.
    """
    if not _rule_class(name).learned:
        raise errors.InputError(
            f"{name!r} has no weights to train; rules that have: {', '.join(learned_names())}"
        )
    try:
        return create(name, seed=seed, **options)
    except (TypeError, ValueError) as error:  # What Python and TensorFlow say to wrong options.
        raise errors.InputError(
            f"{json.dumps(options)} are no options of the rule {name}: {error}"
        ) from None


def with_options(rule: UpdateRule, **changes: Any) -> UpdateRule:
    """Creates a rule with the weights of `rule` and, but for `changes`, its options.

    Raises:
        InputError: for options that the rule does not have, values out of their range, or a rule
            whose class is not registered.
        ValueError: if the weights of the changed rule have other shapes.
    """
    if rule.registered_name is None:
        raise errors.InputError(
            f"a rule {type(rule).__name__} cannot be created again: give the class a name with"
            " l2o_tf.rules.register"
        )
    known = list(dict.fromkeys([*rule.options(), *rule.option_parameters()]))
    unknown = changes.keys() - set(known)
    if unknown:
        raise errors.InputError(
            f"{rule.registered_name} has no option {', '.join(sorted(unknown))}; "
            f"it has {', '.join(known) or 'none'}"
        )
    options = {**rule.options(), **changes}
    if not rule.learned:  # The weights of a formula are among its options.
        return create(rule.registered_name, **options)
    weights = rule.weights()
    expected = symbolic_weights(rule.registered_name, **options)
    base.check_weights(rule.registered_name, weights, expected)
    changed = create(rule.registered_name, **options)
    changed.assign(weights)
    return changed


def from_spec(spec: str) -> UpdateRule:
    """Creates an analytical rule from "name" or "name:learning_rate", such as "adam:0.01".

    Raises:
        InputError: for a name that is unknown or a learned rule's, or a learning rate that is not a
            positive number.
    """
    name, colon, rate = spec.strip().partition(":")
    if _rule_class(name).learned:
        raise errors.InputError(
            f"{name!r} is no analytical rule; these are: {', '.join(analytical_names())}"
        )
    if not colon:
        return create(name)
    try:
        learning_rate = float(rate)
    except ValueError:
        raise errors.InputError(
            f"{spec!r} is not a rule: expected name:learning_rate, such as adam:0.01"
        ) from None
    return create(name, learning_rate=learning_rate)
