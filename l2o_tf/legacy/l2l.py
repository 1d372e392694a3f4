"""Optimizer files `*.l2l-*` of the legacy L2O-DM and RNNprop code.

Such a file is a pickle, made by dill, of {module: {variable: array}} with the modules
`input_projection` (RNNprop only), `lstm_1`, `lstm_2`, ... and `linear`. The legacy code reads
it with `dill.load` (networks.py, `factory`). For its toy problems (util.py, `get_config`) the
input is the gradient itself and the output is not scaled; for `simple` there is no LSTM layer.
"""

import os
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from l2o_tf import rules
from l2o_tf.core import errors, files
from l2o_tf.legacy import pickles
from l2o_tf.rules import base

# LogAndSign of a gradient (L2O-DM) or its two moment ratios (RNNprop).
NUM_FEATURES = 2
MAX_LAYERS = 64
# The position of numpy's internals in every version that Python 3.6 can run, and an alias in
# the newer ones.
_OLD_GLOBAL = b"cnumpy.core.multiarray\n"
_NEW_GLOBAL = b"cnumpy._core.multiarray\n"


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the weights of a rule without running code from the file.

    Args:
        path: a legacy optimizer file, such as `cw.l2l-0` (L2O-DM) or `rp.l2l-0` (RNNprop).

    Returns:
        Float arrays by name, with `hidden_i` units in layer i = 1, 2, ...:
            input_projection/w [2, inputs], input_projection/b [inputs] (RNNprop only)
            lstm_i/w_gates [inputs + hidden_i, 4 * hidden_i], lstm_i/b_gates [4 * hidden_i]
            linear/w [hidden, 1], linear/b [1]
        where the inputs of a layer are the outputs of the one before, 2 features for lstm_1 of
        L2O-DM or 1, the gradient. With 1, there may be no LSTM layer at all. The gates are in
        the order input, candidate, forget, output; the forget bias 1 is not part of b_gates.

    Raises:
        InputError: if the file cannot be read or does not hold exactly these finite arrays.
    """
    where = f"cannot use the optimizer file {os.fspath(path)}"
    weights = _flatten(where, pickles.read(path))
    _validate(where, weights)
    # Equal arrays may be one object in the file.
    return {name: value.copy() for name, value in weights.items()}


def load_rule(path: str | os.PathLike[str]) -> base.UpdateRule:
    """Creates the rule that a file holds; raises as `read` does."""
    return _rule_of(read(path))


def _rule_of(weights: Mapping[str, np.ndarray]) -> base.UpdateRule:
    layers = sum(name.endswith("/w_gates") for name in weights)
    name = rule_name(weights)
    units = [weights[f"lstm_{i}/b_gates"].size // 4 for i in range(1, layers + 1)]
    options: dict[str, Any] = {"units": units}
    if name == "rnnprop":
        options["num_projected"] = weights["input_projection/b"].size
    elif _num_features(weights) == 1:
        options |= {"preprocess": "identity", "output_scale": 1.0}
    rule = rules.create(name, **options)
    rule.assign(dict(weights))
    return rule


def rule_name(weights: Mapping[str, Any]) -> str:
    """The registered name of the rule that has these weights: "dm" or "rnnprop"."""
    return "rnnprop" if "input_projection/w" in weights else "dm"


def write(path: str | os.PathLike[str], weights: Mapping[str, Any]) -> None:
    """Writes weights so that the legacy code (Python 3.6, TensorFlow 1.14, dill) can load them.

    The file appears complete or not at all. It is a plain pickle of protocol 2.

    Args:
        path: where to write; an existing file is replaced.
        weights: arrays or tensors as returned by `read`. `write_rule` makes sure that they are
            all that there is of a rule.

    Raises:
        InputError: if the weights are not those of a rule, or the file cannot be written.
    """
    path = pathlib.Path(path)
    arrays = _arrays(path, weights)
    nested: dict[str, dict[str, np.ndarray]] = {}
    for name in _expected_shapes(arrays):
        module, variable = name.split("/")
        nested.setdefault(module, {})[variable] = arrays[name]
    # Only the first match is the name of the module (later uses refer back to it): a second one
    # would be the data of an array.
    data = pickle.dumps(nested, protocol=2).replace(_NEW_GLOBAL, _OLD_GLOBAL, 1)
    files.write_atomically(path, data)


def write_rule(path: str | os.PathLike[str], rule: base.UpdateRule) -> None:
    """Writes a rule of which the legacy code, and `load_rule`, make the same one.

    Raises:
        InputError: as `write`, and for a rule with options that a file of weights cannot hold, such
            as `centered` and `drift`: what is read would be another rule.
    """
    written = _rule_of(_arrays(pathlib.Path(path), rule.weights()))
    held = written.options()
    lost = [f"{name}={value}" for name, value in rule.options().items() if held.get(name) != value]
    if written.registered_name != rule.registered_name:
        lost.insert(0, f"the rule {rule.registered_name}")
    if lost:
        raise errors.InputError(
            f"cannot write {os.fspath(path)}: a legacy file holds weights of dm or rnnprop only, "
            f"not {', '.join(lost)}; change them with l2o_tf.rules.with_options"
        )
    write(path, rule.weights())


def _arrays(path: pathlib.Path, weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    arrays = {name: np.array(value, order="C") for name, value in weights.items()}
    _validate(f"cannot write {path}", arrays)
    return arrays


def _flatten(where: str, content: Any) -> dict[str, np.ndarray]:
    modules = content if isinstance(content, dict) else {"": content}
    for variables in modules.values():
        for value in variables.values() if isinstance(variables, dict) else [variables]:
            if not isinstance(variables, dict) or not isinstance(value, np.ndarray):
                raise errors.InputError(
                    f"{where}: it holds a {type(value).__name__} where "
                    "{module: {variable: array}} is expected"
                )
    return {f"{m}/{v}": value for m, variables in modules.items() for v, value in variables.items()}


def _validate(where: str, weights: Mapping[str, np.ndarray]) -> None:
    expected = _expected_shapes(weights)
    if weights.keys() != expected.keys():
        missing = ", ".join(name for name in expected if name not in weights)
        unknown = pickles.shorten(", ".join(repr(n) for n in weights if n not in expected))
        raise errors.InputError(
            f"{where}: expected exactly the weights {', '.join(expected)}; "
            f"missing: {missing or 'none'}, unknown: {unknown or 'none'}"
        )
    for name, shape in expected.items():
        value = weights[name]
        if value.shape != shape:
            raise errors.InputError(
                f"{where}: {name} has shape {value.shape}, expected {shape} next to the others"
            )
        if value.dtype.kind != "f":
            raise errors.InputError(f"{where}: {name} is {value.dtype}, expected float32")
        if not np.isfinite(value).all():
            raise errors.InputError(f"{where}: {name} has values that are not finite numbers")


def _expected_shapes(weights: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the rule that `weights` seem to be, its sizes read off the biases."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = _num_features(weights)
    modules = {name.partition("/")[0] for name in weights}
    if "input_projection" in modules:
        outputs = _bias_size(weights, "input_projection/b")
        shapes["input_projection/w"] = (inputs, outputs)
        shapes["input_projection/b"] = (outputs,)
        inputs = outputs
    layer = 1
    while layer <= MAX_LAYERS and (f"lstm_{layer}" in modules or layer == 1 and inputs > 1):
        hidden = max(1, _bias_size(weights, f"lstm_{layer}/b_gates") // 4)
        shapes[f"lstm_{layer}/w_gates"] = (inputs + hidden, 4 * hidden)
        shapes[f"lstm_{layer}/b_gates"] = (4 * hidden,)
        inputs = hidden
        layer += 1
    shapes["linear/w"] = (inputs, 1)
    shapes["linear/b"] = (1,)
    return shapes


def _num_features(weights: Mapping[str, np.ndarray]) -> int:
    """1 where the first layer takes one input, else 2."""
    if not any(name.startswith(("input_projection/", "lstm_")) for name in weights):
        one = "linear/w" in weights and weights["linear/w"].shape == (1, 1)
    else:
        rows = weights["lstm_1/w_gates"].shape[:1] if "lstm_1/w_gates" in weights else ()
        one = rows == (_bias_size(weights, "lstm_1/b_gates") // 4 + 1,)
        one &= not any(name.startswith("input_projection/") for name in weights)
    return 1 if one else NUM_FEATURES


def _bias_size(weights: Mapping[str, np.ndarray], name: str) -> int:
    return weights[name].size if name in weights else 1
