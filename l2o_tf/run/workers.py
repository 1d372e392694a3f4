"""Processes that train together: TF_CONFIG, what they agree on, and how they end.

The chief is the run: it alone has the run's directory. The others are given its state at the start,
compute the same meta-steps, and end with it.
"""

import contextlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_tf.core import devices, errors
from l2o_tf.run import build, directory
from l2o_tf.run.config import TrainConfig
from l2o_tf.training import trainer
from l2o_tf.training.replicas import Replicas

Stopping = Callable[[], bool]
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)


def create(config: TrainConfig) -> Replicas:
    """The replicas that the flags ask for.

    With --strategy=multi_worker to be called before TensorFlow opens its devices; waits until all
    processes are there.

    Raises:
        InputError: for a TF_CONFIG that cannot be used, or if the others cannot be reached.
    """
    per_replica = config.trajectories_per_step
    if config.strategy == "none":
        return Replicas(per_replica)
    if config.strategy == "mirrored":
        return Replicas(per_replica, tf.distribute.MirroredStrategy(devices.names()))
    num_processes, number = _cluster(os.environ.get("TF_CONFIG", ""))
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise errors.InputError(
            f"--strategy=multi_worker must begin before TensorFlow is used: {error}"
        ) from None
    except tf.errors.OpError as error:
        raise errors.InputError(
            f"cannot reach all {num_processes} processes of TF_CONFIG: {error.message}"
        ) from None
    return Replicas(per_replica, strategy, num_processes, is_chief=number == 0)


def _cluster(text: str) -> tuple[int, int]:
    """How many processes there are, and the number of this one; 0 is the chief."""
    example = (
        '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    if not text:
        raise errors.InputError(
            f"--strategy=multi_worker needs the environment variable TF_CONFIG, such as {example}"
        )
    try:
        content = json.loads(text)
        cluster, task = content["cluster"], content["task"]
        everyone = [(k, i) for k in ("chief", "worker") for i in range(len(cluster.get(k, ())))]
        number = everyone.index((task["type"], int(task["index"])))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise errors.InputError(
            f"TF_CONFIG={text} names no chief or worker of a cluster, as {example} does"
        ) from None
    return len(everyone), number


def check_same(replicas: Replicas, config: TrainConfig) -> None:
    """Checks that all processes were started with the same flags.

    Raises:
        InputError: if not, in all of them.
    """
    identity = zlib.crc32(json.dumps(config.identity(), sort_keys=True).encode())
    with reporting_lost(replicas):
        chief = replicas.from_chief(str(identity).encode())
        if replicas.any(chief != str(identity).encode()):
            raise errors.InputError(
                "the processes of TF_CONFIG have different flags: give the same"
            )


def share(replicas: Replicas, checkpoint: directory.Checkpoint, like: trainer.Progress):
    """The checkpoint that the chief gives, in every process."""
    if replicas.num_processes == 1:
        return checkpoint
    file = io.BytesIO()
    own: dict[str, Any] = directory.to_arrays(checkpoint)
    np.savez(file, **own)
    with reporting_lost(replicas):
        content = replicas.from_chief(file.getvalue())
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return directory.from_arrays({name: arrays[name] for name in arrays.files}, like, "chief")


def events(
    of: trainer.Trainer,
    progress: trainer.Progress,
    replicas: Replicas,
    stopping: Stopping,
    watch: trainer.Watch | None = None,
) -> Iterator[trainer.Event]:
    """The events of a training, the same in every process.

    Args:
        of: what trains.
        progress: where to go on from.
        replicas: who trains together.
        stopping: whether this process has been asked to end.
        watch: see `Trainer.run`.

    Raises:
        KeyboardInterrupt: after the same event in all processes if one was asked to end.
        InputError: if another process has gone.
    """
    stream = of.run(progress, watch)
    while True:
        with reporting_lost(replicas):
            if replicas.any(stopping()):
                raise KeyboardInterrupt
            event = next(stream, None)
        if event is None:
            return
        yield event


@contextlib.contextmanager
def reporting_lost(replicas: Replicas) -> Iterator[None]:
    """Turns what TensorFlow raises when another process has gone into an InputError."""
    try:
        yield
    except _LOST as error:
        if replicas.num_processes == 1:
            raise
        raise errors.InputError(
            "another process of TF_CONFIG has ended or cannot be reached; start all of them again "
            "with the same command, training goes on from the last checkpoint "
            f"({errors.reason(error)})"
        ) from None


def follow(
    config: TrainConfig, replicas: Replicas, stopping: Stopping, tell: Callable[[str], None]
) -> None:
    """Trains in a process that is not the chief.

    Raises:
        InputError: for flags or data that cannot be used, or if another process has gone.
        Interrupted: if one of the processes was asked to end.
    """
    of = build.parts(config, replicas).trainer
    like = of.initial_progress()
    progress = share(replicas, directory.Checkpoint(like), like).progress
    tell(f"training {config.rule} with {replicas.num_processes} processes; the chief has the run")
    try:
        for event in events(of, progress, replicas, stopping):
            progress = event.progress
    except KeyboardInterrupt:
        raise errors.Interrupted(
            f"ended after epoch {progress.schedule.epoch}; the chief has saved the run"
        ) from None
    tell(f"done after {progress.schedule.epoch} epochs: {progress.schedule.reason}.")
