"""The first line of a run: what it computes with, on what, and roughly for how long."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tqdm

from l2o_tf.core import devices, processes, seeds
from l2o_tf.data import datasets
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.run import config, remaining
from l2o_tf.training import curriculum
from l2o_tf.training.replicas import Replicas

# Measured on two cores, see docs/performance.md: microseconds per coordinate and optimizee step of
# training and of validation. Convolutions take several times as long.
_TRAIN = {"dm": 0.48, "rnnprop": 0.55, "scale": 0.4}
_VALIDATE = {"dm": 0.14, "rnnprop": 0.16, "scale": 0.12}
_OTHER_RULES = 0.05
_MEASURED_THREADS = 2
_COMPILATION = 15.0  # Seconds, with the start of TensorFlow.
_BASE_MB, _BYTES_PER_STEP = 700, 1300  # Of a coordinate and step of an unroll.
_MAX_RECORDED = 2**19  # Coordinates x steps, see `rules.lstm_sequence`.


def threads() -> int:
    """How many threads TensorFlow uses within an operation; the last bits depend on it."""
    chosen = tf.config.threading.get_intra_op_parallelism_threads()
    if not chosen:
        text = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
        chosen = int(text) if text.isdecimal() else 0
    return chosen or processes.num_cpus()


def describe(
    run_config: config.TrainConfig,
    trained_on: Sequence[Optimizee],
    dataset: datasets.Dataset | None,
    replicas: Replicas = Replicas(),
) -> str:
    """One line: device, threads, data, coordinates, estimated time and memory of a whole run."""
    sizes = [_coordinates(optimizee) for optimizee in trained_on]
    parts = [devices.describe(), f"{threads()} threads", *_replicas(replicas), *_data(dataset)]
    if len(sizes) == 1:
        parts.append(f"{sizes[0]:,} coordinates")
    else:
        parts.append(f"{len(sizes)} optimizees of {min(sizes):,} to {max(sizes):,} coordinates")
    parts += [_time(run_config, float(np.mean(sizes))), _memory(run_config, dataset, max(sizes))]
    return ", ".join(parts)


def _replicas(replicas: Replicas) -> list[str]:
    parts = []
    if replicas.num_processes > 1:
        parts.append(f"{replicas.num_processes} processes")
    if replicas.num_replicas > 1:
        parts.append(f"{replicas.num_replicas} replicas")
    if replicas.num_trajectories > 1:
        parts.append(f"{replicas.num_trajectories} trajectories per meta-step")
    return parts


def _coordinates(optimizee: Optimizee) -> int:
    with tf.Graph().as_default():  # Shapes take neither time nor memory there.
        params = optimizee.init(seeds.make_seed(0, "coordinates"))
    return sum(int(np.prod(p.shape)) for p in params)


def _data(dataset: datasets.Dataset | None) -> list[str]:
    if dataset is None:
        return []
    shape = "x".join(map(str, dataset.image_shape))
    return [f"{len(dataset.labels):,} images of {dataset.name} ({dataset.split}), {shape}"]


def _time(run_config: config.TrainConfig, coordinates: float) -> str:
    schedule = run_config.schedule()
    work = remaining.least(schedule, curriculum.State())
    scale = 1e-6 * coordinates * _MEASURED_THREADS / min(threads(), 8)
    seconds = _COMPILATION + scale * (
        _TRAIN.get(run_config.rule, _OTHER_RULES) * work.train * run_config.trajectories_per_step
        + _VALIDATE.get(run_config.rule, _OTHER_RULES)
        * work.validate
        * run_config.validation_epochs
    )
    more = " or more" if remaining.most(schedule, curriculum.State()) is None else ""
    return f"about {tqdm.tqdm.format_interval(seconds)}{more} (a guess until it is measured)"


def _memory(
    run_config: config.TrainConfig, dataset: datasets.Dataset | None, coordinates: int
) -> str:
    recorded = min(coordinates * run_config.unroll_length, _MAX_RECORDED)
    data = 0 if dataset is None else dataset.images.nbytes
    return f"about {_BASE_MB / 1e3 + (recorded * _BYTES_PER_STEP + data) / 1e9:.1f} GB of memory"
