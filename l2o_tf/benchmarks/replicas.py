"""Trajectories per second of L2O-DM's meta-training, for several per meta-step and process."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import tensorflow as tf

from l2o_tf import optimizees, rules
from l2o_tf.benchmarks import measuring
from l2o_tf.core import loops, seeds
from l2o_tf.training import epochs, meta_optimizers
from l2o_tf.training.plan import Plan
from l2o_tf.training.replicas import Replicas

COUNTS, SHORT_COUNTS = (1, 2, 4, 8), (1, 2)
# Processes, threads of each, and whether they train together.
SHARES = ((1, 2, False), (2, 1, False), (2, 1, True))
SHORT_SHARES = ((2, 1, True),)
EXCHANGED = 10_000  # Floats; L2O-DM has 5,141 weights, RNNprop 6,641, L2O-Scale 8,349.
_NUM_UNROLLS, _UNROLL_LENGTH = 5, 20  # A trajectory has 100 steps.


def epoch_of(replicas: Replicas):
    """One epoch of L2O-DM on MLP-orig as a function without arguments."""
    rule = rules.create("dm")
    epoch = epochs.Epochs(
        rule,
        optimizees.create("mlp", measuring.random_images()),
        meta_optimizers.create("adam"),
        plan=Plan(_UNROLL_LENGTH),
        replicas=replicas,
    )
    meta = epoch.initial_state(rule.weights())
    seed = seeds.make_seed(0, "replicas")
    return lambda: epoch.train(meta, seed, tf.constant(_NUM_UNROLLS)).losses.numpy()


def measure(repetitions: int, short: bool = False) -> list[measuring.Row]:
    """Measures trajectories per second in this process, then in others side by side."""
    counts = SHORT_COUNTS if short else COUNTS
    calls = {str(count): epoch_of(Replicas(count)) for count in counts}
    for call in calls.values():
        call()
    steps = _NUM_UNROLLS * _UNROLL_LENGTH
    measured = measuring.medians(calls, steps, repetitions)
    rows: list[measuring.Row] = [
        {
            "what": f"{count} per meta-step",
            "per_second": count * 1000 / (measured[str(count)].wall_ms * steps),
            "cpu_seconds": measured[str(count)].cpu_ms * steps / 1000 / count,
        }
        for count in counts
    ]
    for processes, threads, together in SHORT_SHARES if short else SHARES:
        found = _side_by_side(processes, threads, together, repetitions)
        kind = "workers of one training" if together else "processes"
        rows.append(
            {
                "what": f"{processes} {kind} x {threads} threads",
                "per_second": sum(one["per_second"] for one in found),
                "cpu_seconds": sum(one["cpu_seconds"] for one in found) / len(found),
                "exchange_ms": max(one["exchange_ms"] for one in found),
            }
        )
    return rows


def _side_by_side(processes: int, threads: int, together: bool, repetitions: int) -> list[dict]:
    """What processes measure that compute at the same time."""
    environment = {
        **os.environ,
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
    }
    hosts = [f"localhost:{port}" for port in _free_ports(processes)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", __name__, folder, str(processes), str(repetitions)]
        started = []
        for i in range(processes):
            task = {"type": "worker", "index": i}
            if together:
                config = {"cluster": {"worker": hosts}, "task": task}
                environment = {**environment, "TF_CONFIG": json.dumps(config)}
            started.append(
                subprocess.Popen([*command, str(i)], env=environment, stdout=subprocess.PIPE)
            )
        said = [process.communicate()[0] for process in started]
    return [json.loads(text.splitlines()[-1]) for text in said]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


def _run_one(folder: str, processes: int, repetitions: int, number: int) -> dict[str, float]:
    replicas = Replicas()
    if os.environ.get("TF_CONFIG"):
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        replicas = Replicas(1, strategy, processes, number == 0)
    call = epoch_of(replicas)
    call()
    with open(os.path.join(folder, str(number)), "w", encoding="ascii"):
        pass
    # Each waits until all are ready, so that none has the machine for itself.
    while len(os.listdir(folder)) < processes:
        time.sleep(0.01)
    measured = measuring.medians({"": call}, 1, repetitions)[""]
    return {
        "per_second": 1000 / measured.wall_ms,
        "cpu_seconds": measured.cpu_ms / 1000,
        "exchange_ms": _exchange_ms(replicas),
    }


def _exchange_ms(replicas: Replicas) -> float:
    """Milliseconds for the mean of `EXCHANGED` floats."""
    if replicas.num_replicas == 1:
        return 0.0
    count = 100

    @loops.in_graph
    def exchange():
        def step(vector, _):
            own = replicas.each(lambda one, vector: vector, replicas.seeds(seed), vector)
            return replicas.mean(own), ()

        return loops.scan(step, tf.zeros([EXCHANGED]), tf.constant(count))[0]

    seed = seeds.make_seed(0, "exchange")
    exchange()
    started = time.perf_counter()
    exchange()
    return 1000 * (time.perf_counter() - started) / count


def table(rows: Sequence[measuring.Row]) -> str:
    """The rows of `measure` as text."""
    lines = [
        [
            row["what"],
            f"{row['per_second']:.2f}",
            f"{row['cpu_seconds']:.2f}",
            f"{row['exchange_ms']:.2f}" if row.get("exchange_ms") else "",
        ]
        for row in rows
    ]
    header = ["trajectories of 100 steps", "per second", "CPU s each", "ms per exchange"]
    return measuring.aligned([header, *lines])


if __name__ == "__main__":
    where, how_many, times, own = sys.argv[1:]
    print(json.dumps(_run_one(where, int(how_many), int(times), int(own))))
