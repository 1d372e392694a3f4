"""The rule of a Keras optimizer, from all that names one."""

import functools
import os
from typing import TypeAlias

from absl import logging

from l2o_tf import keras_config, loading, rules
from l2o_tf.core import errors, seeds
from l2o_tf.rules.base import UpdateRule

Source: TypeAlias = str | os.PathLike | UpdateRule | keras_config.RuleConfig


def find_rule(source: Source, seed: int) -> tuple[UpdateRule, str, str | None]:
    """Creates or loads a rule, and says once per process what is worth knowing of it.

    Args:
        source: what `LearnedOptimizer` takes as `rule`.
        seed: of random weights.

    Returns:
        The rule, its label, and the hash of weights that it lacks, see `keras_config`.

    Raises:
        InputError: if there is no such rule.
    """
    if isinstance(source, UpdateRule):
        return source, source.registered_name or type(source).__name__, None
    if isinstance(source, dict):
        rule, awaited = keras_config.rule_from_config(source)
        return rule, str(source.get("label", source["name"])), awaited
    if not isinstance(source, (str, os.PathLike)):
        raise errors.InputError(
            f"rule={source!r} is no update rule: expected one, or the name or path of one, such as"
            ' "mlp_full" or "adam:0.001"'
        )
    label = os.path.basename(os.path.normpath(source))
    is_name = not loading.is_path(source)
    untrained = source in rules.learned_names() and source not in loading.list_pretrained()
    if untrained and is_name:
        logging.warning(
            "LearnedOptimizer(%r) has random weights until others are loaded; trained rules: %s",
            source,
            ", ".join(loading.list_pretrained()) or "none in this package",
        )
        return rules.create_learned(str(source), seeds.make_seed(seed, "rule")), label, None
    rule = loading.load(source)
    if source in rules.analytical_names() and is_name:
        _say_once(
            f"LearnedOptimizer({source!r}) takes {rule.learning_rate} as learning rate; write"
            f' "{source}:0.001" for another'
        )
    if source in loading.list_pretrained() and is_name:
        _warn_of_baseline(source)
    return rule, label, None


def _warn_of_baseline(name):
    card = loading.pretrained_card(name)
    if card.get("baseline"):
        _say_once(f"LearnedOptimizer({name!r}) is a research baseline: {card.get('fit_for', '')}")


@functools.cache
def _say_once(text: str) -> None:
    logging.warning("%s", text)
