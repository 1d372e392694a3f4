"""How the benchmark measures CPU time, wall time and memory, and how it reports them."""

import os
import platform
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.core import processes, text
from l2o_tf.data import datasets
from l2o_tf.run import machine as run_machine

Row = dict[str, Any]


def random_images(num_examples: int = 10_000) -> datasets.Dataset:
    """Random images of MNIST's shape, with its black border of 4 pixels."""
    random = np.random.default_rng(0)
    images = np.zeros([num_examples, 28, 28, 1], np.uint8)
    images[:, 4:-4, 4:-4] = random.integers(0, 256, [num_examples, 20, 20, 1])
    labels = random.integers(0, 10, num_examples).astype(np.int32)
    return datasets.Dataset("random", "train", images, labels, num_classes=10, scale=1 / 255)


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


def medians(
    functions: Mapping[str, Callable[[], Any]], num_steps: int, repetitions: int
) -> dict[str, Measurement]:
    """Times functions in turn, `repetitions` times each, so that all see the same machine."""
    measured: dict[str, list[Measurement]] = {name: [] for name in functions}
    for _ in range(repetitions):
        for name, function in functions.items():
            measured[name].append(measure(function, num_steps))
    return {
        name: Measurement(*map(np.median, zip(*measurements)))
        for name, measurements in measured.items()
    }


def _cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def reset_peak_memory() -> None:
    """Starts to look for the peak anew, where the system can."""
    # Linux forgets the peak resident size when 5 is written here; elsewhere it stays the
    # process's peak so far, and the rows are in ascending order of size.
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


def peak_memory_mb() -> float:
    """The peak resident size of the process, in MB, since `reset_peak_memory`."""
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
        "cores": processes.num_cpus(),
        "intra_op_threads": run_machine.threads(),
        "inter_op_threads": _inter_op_threads(),
        "load_average": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }


def _inter_op_threads() -> int:
    """How many operations TensorFlow runs at once, as `run_machine.threads` says of one's parts."""
    given = os.environ.get("TF_NUM_INTEROP_THREADS", "")
    chosen = tf.config.threading.get_inter_op_parallelism_threads()
    return chosen or (int(given) if given.isdecimal() else 0) or processes.num_cpus()


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1] for line in file if line.startswith("model name")]
        return names[0].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as text with left-justified columns."""
    return "".join(f"{line}\n" for line in text.aligned(lines, left=len(lines[0])))
