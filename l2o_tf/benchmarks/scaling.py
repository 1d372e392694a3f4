"""Meta-training of L2O-DM on optimizees of many coordinates."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.benchmarks import measuring
from l2o_tf.core import seeds
from l2o_tf.optimizees import base
from l2o_tf.training import epochs, meta_optimizers
from l2o_tf.training.plan import Plan

# Numbers of coordinates and of steps of an unroll, ascending in memory.
SIZES = [(10**n, num_steps) for n in (4, 5, 6) for num_steps in (20, 50, 100)]
SHORT_SIZES = [(10**3, 5)]


class Bowl(base.Optimizee):
    """The sum of a x^2 / 2 over any number of coordinates, with curvatures from 0.01 to 1."""

    def __init__(self, num_coordinates: int):
        self._curvature = tf.exp(tf.linspace(np.log(0.01), 0.0, num_coordinates))
        self._curvature = tf.cast(self._curvature, tf.float32)

    def init(self, seed):
        return [seeds.normal(seed, self._curvature.shape)]

    def loss(self, params, batch):
        return tf.reduce_sum(self._curvature * tf.square(params[0])) / 2


def measure(repetitions: int, short: bool = False) -> list[measuring.Row]:
    """Measures meta-training of L2O-DM for each size, `repetitions` times."""
    rows = []
    for num_coordinates, unroll_length in SHORT_SIZES if short else SIZES:
        rule = rules.create("dm")
        epoch = epochs.Epochs(
            rule,
            Bowl(num_coordinates),
            meta_optimizers.create("adam"),
            plan=Plan(unroll_length),
        )
        meta = epoch.initial_state(rule.weights())
        seed = seeds.make_seed(0, "scaling")

        def call(epoch=epoch, meta=meta, seed=seed):
            return epoch.train(meta, seed, tf.constant(1)).losses.numpy()

        measuring.reset_peak_memory()
        call()
        measured = measuring.medians({"dm": call}, unroll_length, repetitions)["dm"]
        rows.append(
            {
                "coordinates": num_coordinates,
                "unroll_length": unroll_length,
                "steps_per_second": 1000 / measured.wall_ms,
                "cpu_ms": measured.cpu_ms,
                "peak_mb": measuring.peak_memory_mb(),
            }
        )
    return rows


def table(rows: Sequence[measuring.Row]) -> str:
    """The rows of `measure` as text."""
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
    return measuring.aligned([header, *lines])
