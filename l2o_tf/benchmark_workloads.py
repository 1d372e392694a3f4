"""What the benchmark runs, and how it measures CPU time, wall time and memory."""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf import benchmark_reference as reference
from l2o_tf import optimizees, rules, seeds
from l2o_tf.data import datasets
from l2o_tf.optimizees import base
from l2o_tf.training import epochs
from l2o_tf.training import unroll as unrolls

Row = dict[str, Any]

UNROLL_LENGTH = 20
UNROLLS_PER_CALL = 5
META_LEARNING_RATE = 1e-3
TEACHER = "adam:0.01"


class Workload(NamedTuple):
    """A rule, the plain version of it and an optimizee, by name."""

    rule: str
    plain: type[reference.PlainLSTM]
    optimizee: str


WORKLOADS = {
    "dm_mlp": Workload("dm", reference.PlainLSTM, "mlp"),
    "rnnprop_mlp": Workload("rnnprop", reference.PlainRNNprop, "mlp"),
    "dm_conv_mnist": Workload("dm", reference.PlainLSTM, "conv_mnist"),
}


def random_images(num_examples: int = 10_000) -> datasets.Dataset:
    """Random images of MNIST's shape, with its black border of 4 pixels."""
    random = np.random.default_rng(0)
    images = np.zeros([num_examples, 28, 28, 1], np.uint8)
    images[:, 4:-4, 4:-4] = random.integers(0, 256, [num_examples, 20, 20, 1])
    labels = random.integers(0, 10, num_examples).astype(np.int32)
    return datasets.Dataset("random", "train", images, labels, num_classes=10, scale=1 / 255)


class Fast:
    """A workload by way of the library's epochs."""

    def __init__(self, workload: Workload, optimizee: base.Optimizee, num_unrolls: int):
        self._rule = rules.create(workload.rule)
        self._num_unrolls = tf.constant(num_unrolls)
        self._epochs = epochs.Epochs(
            self._rule,
            optimizee,
            rules.create("adam", learning_rate=META_LEARNING_RATE),
            rules.from_spec(TEACHER),
            UNROLL_LENGTH,
        )
        self._meta = self._epochs.initial_state(self._rule.weights())
        self._seed = seeds.make_seed(0, "benchmark")

    def train(self) -> np.ndarray:
        """Runs an epoch; returns its losses, as do the other modes."""
        return self._epochs.train(self._meta, self._seed, self._num_unrolls).losses.numpy()

    def imitate(self) -> np.ndarray:
        """Runs an epoch of imitation."""
        return self._epochs.imitate(self._meta, self._seed, self._num_unrolls).losses.numpy()

    def forward(self) -> np.ndarray:
        """Runs a validation epoch."""
        weights = self._meta.weights
        return self._epochs.validate(weights, self._seed, self._num_unrolls).numpy()


class Plain:
    """The same workload by way of `benchmark_reference`."""

    def __init__(self, workload: Workload, optimizee: base.Optimizee, num_unrolls: int):
        rule = rules.create(workload.rule)
        self._weights = rule.weights()
        self._plain = workload.plain(rule.units, rule.output_scale)
        self._optimizee, self._num_unrolls = optimizee, num_unrolls
        self._teacher = rules.from_spec(TEACHER)
        self._adam = rules.create("adam", learning_rate=META_LEARNING_RATE)
        self._seed = seeds.make_seed(0, "benchmark")
        self._unroll = tf.function(self._unroll_and_meta_step, autograph=False)

    def train(self) -> list[float]:
        """Runs an epoch; returns its objectives, as do the other modes."""
        return self._epoch("train", lambda params: self._plain.init(params))

    def imitate(self) -> list[float]:
        """Runs an epoch of imitation."""
        teacher = self._teacher
        return self._epoch(
            "imitate", lambda params: (teacher.init(params), self._plain.init(params))
        )

    def forward(self) -> list[float]:
        """Runs an epoch without meta-steps."""
        return self._epoch("forward", lambda params: self._plain.init(params))

    def _epoch(self, mode, initial_state):
        weights = self._weights
        adam_state = self._adam.init(list(weights.values()))
        params = self._optimizee.init(self._seed)
        start = (params, initial_state(params))
        objectives = []
        for k in range(self._num_unrolls):
            first = tf.constant(k * (UNROLL_LENGTH + 1))
            objective, start, weights, adam_state = self._unroll(
                mode, weights, adam_state, start, first
            )
            objectives.append(float(objective))
        return objectives

    def _unroll_and_meta_step(self, mode, weights, adam_state, start, first):
        batches = unrolls.random_batches(self._optimizee, self._seed, first)
        arguments = (self._plain, weights, self._optimizee, start, batches, UNROLL_LENGTH)
        if mode == "forward":
            run = reference.forward(*arguments)
            return run.objective, (run.params, run.state), weights, adam_state
        if mode == "imitate":
            run = reference.imitate(*arguments, self._teacher)
        else:
            run = reference.train(*arguments)
        names = list(weights)
        values = [weights[name] for name in names]
        grads = [run.gradient[name] for name in names]
        updates, adam_state = self._adam.update(grads, adam_state, values)
        weights = {name: w + u for name, w, u in zip(names, values, updates)}
        return run.objective, (run.params, run.state), weights, adam_state


class Measurement(NamedTuple):
    """Milliseconds per step."""

    cpu_ms: float
    wall_ms: float


def measure(function: Callable[[], Any], num_steps: int) -> Measurement:
    """Times one call that takes `num_steps` steps; CPU time is that of all threads."""
    cpu, wall = _cpu_seconds(), time.perf_counter()
    function()
    wall, cpu = time.perf_counter() - wall, _cpu_seconds() - cpu
    return Measurement(1000 * cpu / num_steps, 1000 * wall / num_steps)


def _cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def compare(
    names: Sequence[str], modes: Sequence[str], repetitions: int, short: bool = False
) -> list[Row]:
    """Measures workloads beside their plain versions, in turn.

    Args:
        names: keys of WORKLOADS.
        modes: "train", "imitate" or "forward".
        repetitions: measurements of each implementation.
        short: whether to measure one unroll once.

    Returns:
        For each workload and mode the medians and the ratios plain / fast, and the peak memory
        of the process while each implementation ran.
    """
    num_unrolls = 1 if short else UNROLLS_PER_CALL
    dataset = random_images(1000 if short else 10_000)
    rows = []
    for name in names:
        workload = WORKLOADS[name]
        optimizee = optimizees.create(workload.optimizee, dataset)
        pair = {
            "fast": Fast(workload, optimizee, num_unrolls),
            "plain": Plain(workload, optimizee, num_unrolls),
        }
        for mode in modes:
            row: Row = {"workload": name, "mode": mode}
            functions = {kind: getattr(each, mode) for kind, each in pair.items()}
            row |= _compare(functions, num_unrolls * UNROLL_LENGTH, 1 if short else repetitions)
            rows.append(row)
    return rows


def _compare(functions, num_steps, repetitions) -> Row:
    row: Row = {}
    measured: dict[str, list[Measurement]] = {kind: [] for kind in functions}
    for kind, function in functions.items():
        _reset_peak_memory()
        first_call = measure(function, 1)
        row[f"{kind}_first_call_s"] = first_call.wall_ms / 1000
        row[f"{kind}_peak_mb"] = _peak_memory_mb()
    for _ in range(repetitions):
        for kind, function in functions.items():
            measured[kind].append(measure(function, num_steps))
    for kind, measurements in measured.items():
        for field in Measurement._fields:
            values = [getattr(m, field) for m in measurements]
            row[f"{kind}_{field}"] = statistics.median(values)
    for field in Measurement._fields:
        row[f"{field.removesuffix('_ms')}_ratio"] = row[f"plain_{field}"] / row[f"fast_{field}"]
    return row


class Bowl(base.Optimizee):
    """The sum of a x^2 / 2 over any number of coordinates, with curvatures from 0.01 to 1."""

    def __init__(self, num_coordinates: int):
        self._curvature = tf.exp(tf.linspace(np.log(0.01), 0.0, num_coordinates))
        self._curvature = tf.cast(self._curvature, tf.float32)

    def init(self, seed):
        return [seeds.normal(seed, self._curvature.shape)]

    def loss(self, params, batch):
        return tf.reduce_sum(self._curvature * tf.square(params[0])) / 2


def scaling(short: bool = False) -> list[Row]:
    """Measures meta-training of L2O-DM on large optimizees, the largest last."""
    rows = []
    sizes = [(10**3, 5)] if short else [(10**n, t) for n in (4, 5, 6) for t in (20, 50, 100)]
    for num_coordinates, unroll_length in sizes:
        rule = rules.create("dm")
        epoch = epochs.Epochs(
            rule,
            Bowl(num_coordinates),
            rules.create("adam", learning_rate=META_LEARNING_RATE),
            unroll_length=unroll_length,
        )
        meta = epoch.initial_state(rule.weights())
        seed = seeds.make_seed(0, "scaling")

        def call(epoch=epoch, meta=meta, seed=seed):
            return epoch.train(meta, seed, tf.constant(1)).losses.numpy()

        _reset_peak_memory()
        call()
        measured = measure(call, unroll_length)
        rows.append(
            {
                "coordinates": num_coordinates,
                "unroll_length": unroll_length,
                "steps_per_second": 1000 / measured.wall_ms,
                "cpu_ms": measured.cpu_ms,
                "peak_mb": _peak_memory_mb(),
            }
        )
    return rows


def _reset_peak_memory():
    # Linux forgets the peak resident size when 5 is written here; elsewhere it stays the
    # process's peak so far, and the rows are in ascending order of size.
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


def _peak_memory_mb() -> float:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["VmHWM"].split()[0]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> dict[str, Any]:
    """The machine and the software of a measurement."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads() or "all cores",
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads() or "all cores",
        "load_average": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return models[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def comparison_table(rows: Sequence[Row]) -> str:
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
    return aligned([header, *lines])


def scaling_table(rows: Sequence[Row]) -> str:
    """The rows of `scaling` as text."""
    header = ["coordinates", "unroll", "steps/s", "CPU ms", "peak MB"]
    lines = [
        [
            str(row["coordinates"]),
            str(row["unroll_length"]),
            f"{row['steps_per_second']:.2f}",
            f"{row['cpu_ms']:.1f}",
            f"{row['peak_mb']:.0f}",
        ]
        for row in rows
    ]
    return aligned([header, *lines])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Text in columns."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() + "\n"
        for line in lines
    )
