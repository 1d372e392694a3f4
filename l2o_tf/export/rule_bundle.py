"""Bundles of a rule: its `init` and `update` for parameters of given shapes."""

import math
import pathlib

import numpy as np
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import errors, files
from l2o_tf.evaluation import contenders, tuning
from l2o_tf.export import bundle, programs

_MODULES = ("exported_rule.py", "program.py")
_MAX_COORDINATES = 2**31 - 1  # XLA is given their number as an int32.


def write(
    directory: str,
    source: str,
    shapes: list[tuple[int, ...]],
    init_lr_range: tuple[float, ...] | None = None,
) -> None:
    """Writes a bundle with a rule, as StableHLO, its weights and a loader.

    Args:
        directory: where to.
        source: the rule, as `contenders.load` takes it.
        shapes: of the parameter tensors.
        init_lr_range: the range of first learning rates of a rule that draws them.

    Raises:
        InputError: for a rule that cannot be loaded, has no learning rate yet or draws none, or
            parameters that are too many.
    """
    count = sum(map(math.prod, shapes))
    if count > _MAX_COORDINATES:
        raise errors.InputError(
            f"--shapes={','.join('x'.join(map(str, shape)) for shape in shapes)} are "
            f"{count:,} parameters; a rule can be exported for {_MAX_COORDINATES:,}"
        )
    rule, path = _load(source, init_lr_range), pathlib.Path(directory)
    params = [tf.TensorSpec(shape) for shape in shapes]
    exported = {
        "init": programs.rule_init(rule, params),
        "update": programs.rule_update(rule, params),
    }
    weights = {name: np.asarray(value) for name, value in rule.weights().items()}
    bundle.begin(path)
    files.write_arrays(path / "weights.npz", weights)
    recipe = {"rule": rule.registered_name, "shapes": shapes, "options": rule.options()}
    about = {
        "what": bundle.identity("rule", recipe, weights),
        **recipe,
        "programs": bundle.write_programs(path, exported),
    }
    bundle.finish(path, about, _MODULES, shared=())


def _load(source: str, init_lr_range: tuple[float, ...] | None) -> rules.UpdateRule:
    (rule,) = contenders.load([source], init_lr_range).values()
    if isinstance(rule, tuning.Tuned):
        raise errors.InputError(
            f"--rules={source} has no learning rate yet: write one, {rule.name}:RATE"
        )
    return rule
