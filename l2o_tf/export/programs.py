"""Programs of lanes as StableHLO, with a name for everything that goes in and comes out."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.core import loops
from l2o_tf.export import carried
from l2o_tf.export import lanes as lane_programs
from l2o_tf.rules import base

# The columns of a packed control; one array is one transfer to the device.
_SEED, _UNROLL, _ACTIVE, _IMITATES, _ENDS, _ROW = slice(0, 2), 2, 3, 4, 5, 6
_NUM_COLUMNS = 7


class Program(NamedTuple):
    """A program that runs anywhere.

    Attributes:
        text: its StableHLO.
        inputs: for each argument its name, shape and dtype, JSON values; the images, the labels
            and the scale of pixels are the last three and not in the list.
    """

    text: str
    inputs: list[dict]


def train(lanes: lane_programs.Programs, data: carried.Images, weights: base.Weights) -> Program:
    """One call of `Programs.train`; what it carries comes first, in and out.

    Args:
        lanes: what to export.
        data: the images; only their shapes matter.
        weights: the weights of one lane; only their shapes matter.
    """
    count = lanes.num_lanes

    def call(carry, control, average, data, scale):
        unpacked = carried.Control(
            control[:, _SEED],
            control[:, _UNROLL],
            control[:, _ACTIVE] > 0,
            control[:, _IMITATES] > 0,
            control[:, _ENDS] > 0,
            average,
            control[0, _ROW],
        )
        return lanes.train(carry, unpacked, data, scale)

    carry = lanes.initial_lanes(_repeated(weights, count))
    inputs = [*_named(carry), ("control", np.zeros([count, _NUM_COLUMNS], np.int32))]
    inputs.append(("average", np.zeros([count, 2], np.float32)))
    return _program(call, inputs, carry, inputs[-2][1], inputs[-1][1], data, np.float32(1))


def validate(lanes: lane_programs.Programs, data: carried.Images, weights: base.Weights) -> Program:
    """One call of `Programs.validate`, which returns the slots and the losses."""
    count = lanes.num_lanes

    def call(slots, weights, control, data, scale):
        return lanes.validate(slots, weights, control[:, _SEED], control[0, _UNROLL], data, scale)

    slots, weights = lanes.initial_slots(), _repeated(weights, count)
    control = np.zeros([count, 3], np.int32)
    inputs = [
        *((f"slots/{name}", value) for name, value in _named(slots)),
        *((f"weights/{name}", value) for name, value in _named(weights)),
        ("control", control),
    ]
    return _program(call, inputs, slots, weights, control, data, np.float32(1))


def initial(lanes: lane_programs.Programs, weights: base.Weights) -> dict[str, np.ndarray]:
    """What lanes train on from, by name: weights [K, ...], meta-optimizers and averages."""
    carry = lanes.initial_lanes(weights)
    return {
        name: np.asarray(value)
        for name, value in _named(carry)
        if name.startswith(("meta/", "average/"))
    }


def _repeated(weights, count):
    return {name: tf.repeat(value[None], count, axis=0) for name, value in weights.items()}


def _named(nest: Any) -> list[tuple[str, tf.Tensor]]:
    """The tensors of a nest in the order of `tf.nest.flatten`, with their paths."""
    if hasattr(nest, "_fields"):
        items = nest._asdict().items()
    elif isinstance(nest, dict):
        items = sorted(nest.items())
    elif isinstance(nest, list | tuple):
        items = enumerate(nest)
    else:
        return [("", nest)]
    return [
        (f"{key}/{path}" if path else str(key), leaf)
        for key, value in items
        for path, leaf in _named(value)
    ]


def _program(call: Callable, inputs: list, *arguments: Any) -> Program:
    # Nests of specifications are refused.
    specs = [tf.TensorSpec(x.shape, tf.as_dtype(x.dtype)) for x in tf.nest.flatten(arguments)]
    flat = loops.compiled(lambda *flat: call(*tf.nest.pack_sequence_as(arguments, flat)))
    text = flat.experimental_get_compiler_ir(*specs)(stage="stablehlo")
    described = [
        {"name": name, "shape": list(value.shape), "dtype": tf.as_dtype(value.dtype).name}
        for name, value in inputs
    ]
    expected, found = len(specs), len(_main_arguments(text))
    if expected != found or expected != len(described) + 3:
        raise AssertionError(f"{expected} arguments became {found}")
    return Program(_without_locations(text), described)


def _main_arguments(text: str) -> list[str]:
    signature = re.search(r"func\.func (?:public )?@main\((.*)\) ->", text)
    return re.findall(r"%arg\d+: ", signature.group(1)) if signature else []


def _without_locations(text: str) -> str:
    """Leaves out where operations come from, three quarters of the text."""
    text = re.sub(r"^#loc.*\n", "", text, flags=re.MULTILINE)
    nested = r'"(?:[^"\\]|\\.)*"|[^()"]'
    return re.sub(rf" loc\((?:{nested}|\((?:{nested})*\))*\)", "", text)
