"""Programs as StableHLO, with a name for everything that goes in and comes out."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.core import loops
from l2o_tf.export import axes, carried, trajectories
from l2o_tf.export import lanes as lane_programs
from l2o_tf.rules import base
from l2o_tf.training import unrolls

# The columns of a packed control; one array is one transfer to the device.
_SEED, _UNROLL, _ACTIVE, _IMITATES, _ENDS, _ROW = slice(0, 2), 2, 3, 4, 5, 6
_NUM_COLUMNS = 7


class Program(NamedTuple):
    """A program that runs anywhere.

    Attributes:
        text: its StableHLO; empty if nothing comes out.
        inputs: for each argument its name, shape and dtype, JSON values; the images, the labels
            and the scale of pixels are the last three where there are data, and not in the list.
        outputs: likewise what comes out.
    """

    text: str
    inputs: list[dict]
    outputs: list[dict]


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

    carry = lanes.initial_lanes(axes.repeat(weights, count))
    inputs = [*_named(carry), ("control", np.zeros([count, _NUM_COLUMNS], np.int32))]
    inputs.append(("average", np.zeros([count, 2], np.float32)))
    arguments = [carry, inputs[-2][1], inputs[-1][1]]
    return _program(call, inputs, arguments, [data, np.float32(1)])


def validate(lanes: lane_programs.Programs, data: carried.Images, weights: base.Weights) -> Program:
    """One call of `Programs.validate`, which returns the slots and the losses."""
    count = lanes.num_lanes

    def call(slots, weights, control, data, scale):
        return lanes.validate(slots, weights, control[:, _SEED], control[0, _UNROLL], data, scale)

    slots, weights = lanes.initial_slots(), axes.repeat(weights, count)
    control = np.zeros([count, 3], np.int32)
    inputs = [
        *_named(slots, "slots"),
        *_named(weights, "weights"),
        ("control", control),
    ]
    return _program(call, inputs, [slots, weights, control], [data, np.float32(1)])


def evaluate(
    lanes: trajectories.Trajectories, data: carried.Images, weights: base.Weights
) -> Program:
    """One call of `Trajectories.run`; where the lanes stand comes first, in and out.

    Args:
        lanes: what to export.
        data: the images; only their shapes matter.
        weights: the weights of one lane; only their shapes matter.
    """
    count, seed = lanes.num_lanes, tf.zeros([2], tf.int32)
    one = unrolls.start(lanes.optimizee, lanes.rule, seed, weights)
    start = axes.repeat(one, count)
    weights, first_step = axes.repeat(weights, count), np.int32(0)
    seeds = np.zeros([count, 2], np.int32)
    inputs = [
        *_named(start),
        *_named(weights, "weights"),
        ("seed", seeds),
        ("first_step", first_step),
    ]
    arguments = [start, weights, seeds, first_step]
    return _program(lanes.run, inputs, arguments, [data, np.float32(1)])


def rule_init(rule: base.UpdateRule, params: Sequence[tf.Tensor | tf.TensorSpec]) -> Program:
    """A rule's `init` for parameters of given shapes: (weights, seed) -> state.

    Args:
        rule: the rule.
        params: tensors or their specifications; only their shapes matter.
    """

    def call(weights, seed):
        return {"state": rule.init(_zeros(params), seed, weights)}

    seed = np.zeros([2], np.int32)
    inputs = [*_named(rule.weights(), "weights"), ("seed", seed)]
    return _program(call, inputs, [rule.weights(), seed])


def rule_update(rule: base.UpdateRule, params: Sequence[tf.Tensor | tf.TensorSpec]) -> Program:
    """A rule's `update`: (gradients, state, parameters, weights) -> (updates, state).

    Args:
        rule: the rule.
        params: tensors or their specifications; only their shapes matter.
    """

    def call(grads, state, params, weights):
        updates, state = rule.update(grads, state, params, weights)
        return {"updates": list(updates), "state": state}

    # Traced only: the states of many parameters could take more memory than there is.
    start = loops.in_graph(lambda: rule.init(_zeros(params), tf.zeros([2], tf.int32)))
    weights, state = rule.weights(), start.get_concrete_function().structured_outputs
    inputs = [
        *_named(params, "grads"),
        *_named(state, "state"),
        *_named(params, "params"),
        *_named(weights, "weights"),
    ]
    return _program(call, inputs, [params, state, params, weights])


def initial(lanes: lane_programs.Programs, weights: base.Weights) -> dict[str, np.ndarray]:
    """What lanes train on from, by name: weights [K, ...], meta-optimizers and averages."""
    carry = lanes.initial_lanes(weights)
    return {
        name: np.asarray(value)
        for name, value in _named(carry)
        if name.startswith(("meta/", "average/"))
    }


def _zeros(params: Sequence[tf.Tensor | tf.TensorSpec]) -> list[tf.Tensor]:
    """Parameters of these shapes within a graph, where they take no memory."""
    return [tf.zeros(x.shape, x.dtype) for x in params]


def _named(nest: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """The tensors of a nest in the order of `tf.nest.flatten`, with their paths."""
    if hasattr(nest, "_fields"):
        items = nest._asdict().items()
    elif isinstance(nest, dict):
        items = sorted(nest.items())
    elif isinstance(nest, list | tuple):
        items = enumerate(nest)
    else:
        return [(prefix, nest)]
    start = f"{prefix}/" if prefix else ""
    return [leaf for key, value in items for leaf in _named(value, f"{start}{key}")]


def _program(call: Callable, inputs: list, arguments: list, data: Sequence = ()) -> Program:
    """Exports a function of `arguments` and `data`, of which `inputs` names the former."""
    arguments = [*arguments, *data]
    # Nests of specifications are refused.
    specs = [tf.TensorSpec(x.shape, tf.as_dtype(x.dtype)) for x in tf.nest.flatten(arguments)]
    flat = loops.compiled(lambda *flat: call(*tf.nest.pack_sequence_as(arguments, flat)))
    outputs = _described(_named(flat.get_concrete_function(*specs).structured_outputs))
    inputs = _described(inputs)
    if not outputs:
        return Program("", inputs, outputs)
    text = flat.experimental_get_compiler_ir(*specs)(stage="stablehlo")
    expected, found = len(specs), len(_main_arguments(text))
    if expected != found or expected != len(inputs) + len(tf.nest.flatten(data)):
        raise AssertionError(f"{expected} arguments became {found}")
    return Program(_without_locations(text), inputs, outputs)


def _described(tensors: list[tuple[str, Any]]) -> list[dict]:
    return [
        {"name": name, "shape": list(value.shape), "dtype": tf.as_dtype(value.dtype).name}
        for name, value in tensors
    ]


def _main_arguments(text: str) -> list[str]:
    signature = re.search(r"func\.func (?:public )?@main\((.*)\) ->", text)
    return re.findall(r"%arg\d+: ", signature.group(1)) if signature else []


def _without_locations(text: str) -> str:
    """Leaves out where operations come from, three quarters of the text."""
    text = re.sub(r"^#loc.*\n", "", text, flags=re.MULTILINE)
    nested = r'"(?:[^"\\]|\\.)*"|[^()"]'
    return re.sub(rf" loc\((?:{nested}|\((?:{nested})*\))*\)", "", text)
