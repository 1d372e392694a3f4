"""What a rule does with a gradient that stays the same: its drift and its effective rates.

A rule that is to bring a loss down for thousands of steps lives on ever smaller gradients. What it
makes of those needs no optimizee to see: with a gradient that does not change, an update settles,
and its size over the gradient's is the learning rate of the SGD that it equals there.
"""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf import artifacts
from l2o_tf.core import errors, loops, text
from l2o_tf.evaluation import selection
from l2o_tf.rules.base import UpdateRule, Weights
from l2o_tf.rules.mlp import MLP

LastUpdate = Callable[[Weights], tf.Tensor]


class Response(NamedTuple):
    """A rule's updates after many steps of one gradient.

    Attributes:
        drift: the update at gradient 0, which no optimizee has asked for.
        rates: float64 [num_sizes]; for each size s of a gradient, -(u(s) - u(-s)) / 2s, where u is
            the update: of SGD its learning rate, of Adam its learning rate over s.
    """

    drift: float
    rates: np.ndarray


def measure(rule: UpdateRule, sizes: Sequence[float], num_steps: int) -> Response:
    """Takes steps with gradients that do not change, of each size and sign and 0.

    Args:
        rule: the rule; its coordinates should not depend on each other, or they share a tensor.
        sizes: positive sizes of gradients.
        num_steps: steps until the update is read.

    Raises:
        InputError: for a rule `mlp`, whose coordinates have no rates of their own.
    """
    _check(rule, rule.registered_name or type(rule).__name__)
    return _response(_last_update(rule, sizes, num_steps), rule, sizes)


def measure_all(
    rules: Mapping[str, UpdateRule],
    snapshots: Iterable[selection.Snapshot],
    sizes: Sequence[float],
    num_steps: int,
) -> dict[str, Response]:
    """Measures rules by label and snapshots of trainings by their run and epoch.

    Raises:
        InputError: if a snapshot cannot be read, or for a rule `mlp`.
    """
    named = itertools.chain(
        rules.items(), ((s.name, artifacts.load_rule(s.directory, s.path)) for s in snapshots)
    )
    compiled: dict[str, LastUpdate] = {}  # Rules that differ by their weights alone share one.
    found = {}
    for label, rule in named:
        _check(rule, label)
        kind = json.dumps([rule.registered_name, rule.options()], sort_keys=True)
        if kind not in compiled:
            compiled[kind] = _last_update(rule, sizes, num_steps)
        found[label] = _response(compiled[kind], rule, sizes)
    return found


def _check(rule: UpdateRule, label: str) -> None:
    # It leaves vectors to Adam, or scales a tensor's update to its learning rate: then a gradient
    # alone has a rate of that over its size, and beside others one that depends on those.
    if isinstance(rule, MLP):
        raise errors.InputError(
            f"{label} has no rate of its own at a size of gradients: the rule mlp scales the update"
            " of each tensor to its learning rate and may leave vectors to Adam; leave it out"
        )


def _last_update(rule: UpdateRule, sizes: Sequence[float], num_steps: int) -> LastUpdate:
    """The rule's last update [1 + 2 num_sizes], of gradients 0, sizes and -sizes, by weights."""
    ascent = np.asarray(sizes, np.float32)
    grads = [tf.constant(np.concatenate([[0], ascent, -ascent]), tf.float32)]
    start = [tf.zeros_like(grads[0])]

    @loops.in_graph
    def last_update(weights: Weights) -> tf.Tensor:
        def step(t, state, params, _):
            updates, state = rule.update(grads, state, params, weights)
            return t + 1, state, [p + u for p, u in zip(params, updates)], updates

        first = (tf.constant(0), rule.init(start, weights=weights), start, start)
        return tf.while_loop(lambda t, *_: t < num_steps, step, first)[-1][0]

    return last_update


def _response(last_update: LastUpdate, rule: UpdateRule, sizes: Sequence[float]) -> Response:
    updates = last_update(rule.weights()).numpy().astype(float)
    drift, up, down = np.split(updates, [1, 1 + len(sizes)])
    return Response(float(drift[0]) + 0.0, -(up - down) / (2 * np.asarray(sizes, float)))


def table(responses: Mapping[str, Response], sizes: Sequence[float]) -> str:
    """A line per rule."""
    rows = [["rule", "drift", *(f"rate at {size:g}" for size in sizes)]]
    rows += [
        [label, f"{response.drift:.1e}", *(f"{rate:.3g}" for rate in response.rates)]
        for label, response in responses.items()
    ]
    return "\n".join(text.aligned(rows, left=1))


def to_csv(responses: Mapping[str, Response], sizes: Sequence[float]) -> str:
    """The same as CSV, with all digits of single precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["rule", "drift", *(f"rate@{size:g}" for size in sizes)])
    for label, response in responses.items():
        numbers = [response.drift, *response.rates]
        writer.writerow([label, *(f"{number:.8g}" for number in numbers)])
    return buffer.getvalue()
