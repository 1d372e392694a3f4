"""Meta-training, imitation and forward unrolls beside a plain implementation of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf import optimizees, rules
from l2o_tf.benchmarks import measuring, plain_unrolls
from l2o_tf.core import loops, seeds
from l2o_tf.optimizees import base
from l2o_tf.training import epochs, estimators, meta_optimizers, unrolls
from l2o_tf.training.plan import Plan

MODES = ("train", "imitate", "forward")
UNROLL_LENGTH = 20
UNROLLS_PER_CALL = 5
TEACHER = "adam:0.01"


class Workload(NamedTuple):
    """A rule and an optimizee by name, and how the rule is trained.

    Attributes:
        rule: the rule to train.
        plain: the plain version of it.
        optimizee: what it is trained on.
        second_derivatives: whether to differentiate through the optimizee's gradients.
    """

    rule: str
    plain: type[plain_unrolls.PlainRule]
    optimizee: str
    second_derivatives: bool = False


WORKLOADS = {
    "dm_mlp": Workload("dm", plain_unrolls.PlainLSTM, "mlp"),
    "rnnprop_mlp": Workload("rnnprop", plain_unrolls.PlainRNNprop, "mlp"),
    "dm_conv_mnist": Workload("dm", plain_unrolls.PlainLSTM, "conv_mnist"),
    "scale_mlp": Workload("scale", plain_unrolls.PlainRule, "mlp"),
    "scale_mlp_second": Workload("scale", plain_unrolls.PlainRule, "mlp", second_derivatives=True),
}


class Fast:
    """A workload by way of the library's epochs."""

    def __init__(self, workload: Workload, optimizee: base.Optimizee, num_unrolls: int):
        self._rule = rules.create(workload.rule)
        self._num_unrolls = tf.constant(num_unrolls)
        self._epochs = epochs.Epochs(
            self._rule,
            optimizee,
            meta_optimizers.create("adam"),
            rules.from_spec(TEACHER),
            plan=Plan(UNROLL_LENGTH),
            estimator=estimators.Backprop(workload.second_derivatives),
        )
        self._meta = self._epochs.initial_state(self._rule.weights())
        self._seed = seeds.make_seed(0, "benchmark")

    def train(self) -> np.ndarray:
        """Runs an epoch; returns the mean loss of each unroll, as do the other modes."""
        return self._epochs.train(self._meta, self._seed, self._num_unrolls).losses.numpy()

    def imitate(self) -> np.ndarray:
        """Runs an epoch of imitation."""
        return self._epochs.imitate(self._meta, self._seed, self._num_unrolls).losses.numpy()

    def forward(self) -> np.ndarray:
        """Runs a validation epoch."""
        weights = self._meta.weights
        return self._epochs.validate(weights, self._seed, self._num_unrolls).losses.numpy()


class Plain:
    """The same workload by way of `plain_unrolls`."""

    def __init__(self, workload: Workload, optimizee: base.Optimizee, num_unrolls: int):
        rule = rules.create(workload.rule)
        self._weights = rule.weights()
        self._plain = workload.plain(rule)
        self._second_derivatives = workload.second_derivatives
        self._optimizee, self._num_unrolls = optimizee, num_unrolls
        self._teacher = rules.from_spec(TEACHER)
        self._adam = meta_optimizers.create("adam")
        self._seed = seeds.make_seed(0, "benchmark")
        self._unroll = loops.in_graph(self._unroll_and_meta_step)

    def train(self) -> np.ndarray:
        """Runs an epoch; returns the mean loss of each unroll, as do the other modes."""
        return self._epoch("train")

    def imitate(self) -> np.ndarray:
        """Runs an epoch of imitation."""
        return self._epoch("imitate")

    def forward(self) -> np.ndarray:
        """Runs an epoch without meta-steps."""
        return self._epoch("forward")

    def _epoch(self, mode):
        weights = self._weights
        adam_state = self._adam.init(list(weights.values()))
        params, teacher_state = unrolls.start(self._optimizee, self._teacher, self._seed)
        state = self._plain.init(params, unrolls.rule_seed(self._seed))
        start = (params, (teacher_state, state) if mode == "imitate" else state)
        num_losses = UNROLL_LENGTH + (mode == "train")  # As many as batches.
        objectives = []
        for k in range(self._num_unrolls):
            objective, start, weights, adam_state = self._unroll(
                mode, weights, adam_state, start, tf.constant(k * num_losses)
            )
            objectives.append(float(objective))
        return np.array(objectives) / num_losses

    def _unroll_and_meta_step(self, mode, weights, adam_state, start, first):
        batches = unrolls.random_batches(self._optimizee, self._seed, first)
        arguments = (self._plain, weights, self._optimizee, start, batches, UNROLL_LENGTH)
        if mode == "forward":
            run = plain_unrolls.forward(*arguments)
            return run.objective, (run.params, run.state), weights, adam_state
        if mode == "imitate":
            run = plain_unrolls.imitate(*arguments, self._teacher)
        else:
            run = plain_unrolls.train(*arguments, self._second_derivatives)
        names = list(weights)
        values = [weights[name] for name in names]
        grads = [run.gradient[name] for name in names]
        updates, adam_state = self._adam.update(grads, adam_state, values)
        weights = {name: w + u for name, w, u in zip(names, values, updates)}
        return run.objective, (run.params, run.state), weights, adam_state


def measure(repetitions: int, short: bool = False) -> list[measuring.Row]:
    """Measures workloads beside their plain versions, in turn.

    Args:
        repetitions: measurements of each implementation.
        short: whether an epoch is a single unroll.

    Returns:
        For each workload and mode the medians and the ratios plain / fast, and the peak memory
        of the process while each implementation ran.
    """
    num_unrolls = 1 if short else UNROLLS_PER_CALL
    dataset = measuring.random_images(1000 if short else 10_000)
    rows = []
    for name, workload in WORKLOADS.items():
        optimizee = optimizees.create(workload.optimizee, dataset)
        pair = {
            "fast": Fast(workload, optimizee, num_unrolls),
            "plain": Plain(workload, optimizee, num_unrolls),
        }
        for mode in MODES:
            row: measuring.Row = {"workload": name, "mode": mode}
            functions = {kind: getattr(each, mode) for kind, each in pair.items()}
            row |= _compare(functions, num_unrolls * UNROLL_LENGTH, repetitions)
            rows.append(row)
    return rows


def _compare(functions, num_steps, repetitions) -> measuring.Row:
    row: measuring.Row = {}
    for kind, function in functions.items():
        measuring.reset_peak_memory()
        first_call = measuring.measure(function, 1)
        row[f"{kind}_first_call_s"] = first_call.wall_ms / 1000
        row[f"{kind}_peak_mb"] = measuring.peak_memory_mb()
    for kind, measured in measuring.medians(functions, num_steps, repetitions).items():
        row |= {f"{kind}_{field}": value for field, value in measured._asdict().items()}
    for field in measuring.Measurement._fields:
        row[f"{field.removesuffix('_ms')}_ratio"] = row[f"plain_{field}"] / row[f"fast_{field}"]
    return row


def table(rows: Sequence[measuring.Row]) -> str:
    """The rows as text, with milliseconds per step as fast / plain."""
    header = ["workload", "mode", "CPU ms", "ratio", "wall ms", "ratio", "first call s", "peak MB"]

    def pair(row, field, digits):
        return f"{row['fast_' + field]:.{digits}f} / {row['plain_' + field]:.{digits}f}"

    lines = [
        [
            row["workload"],
            row["mode"],
            pair(row, "cpu_ms", 2),
            f"{row['cpu_ratio']:.2f}",
            pair(row, "wall_ms", 2),
            f"{row['wall_ratio']:.2f}",
            pair(row, "first_call_s", 1),
            pair(row, "peak_mb", 0),
        ]
        for row in rows
    ]
    return measuring.aligned([header, *lines])
