"""Epochs on several replicas, in a process of its own: TensorFlow has to be told at its start.

python replica_program.py KIND OUT.npz: the results of the same functions for the same two
trajectories on one device (none), on two virtual CPUs (mirrored) or in one of two processes of
TF_CONFIG (multi_worker).
"""

import sys

import numpy as np
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import seeds
from l2o_tf.optimizees import scaling
from l2o_tf.training import epochs
from l2o_tf.training.plan import Plan
from l2o_tf.training.replicas import Replicas
from tests.training import problems


def replicas_of(kind: str) -> Replicas:
    """Two trajectories per meta-step, by one or two replicas."""
    if kind == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        one = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [one, one])
        return Replicas(1, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    if kind == "multi_worker":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        is_chief = strategy.cluster_resolver.task_id == 0
        return Replicas(1, strategy, num_processes=2, is_chief=is_chief)
    return Replicas(2)


def make(replicas: Replicas, rule, meta: str) -> epochs.Epochs:
    """Epochs on a problem whose scales are random."""
    return epochs.Epochs(
        rule,
        scaling.RandomScaling(problems.SmallQuadratic(tf.float32, num_batches=300), 1.0),
        rules.from_spec(meta),
        rules.from_spec("adam:0.05"),
        replicas=replicas,
        plan=Plan(4),
        with_xla=False,  # Several seconds less for each of the graphs.
    )


def epoch_seed() -> seeds.Seed:
    """The seed of all epochs."""
    return seeds.make_seed(5, "replicas")


def single_seeds() -> list[seeds.Seed]:
    """The seeds of the first three trajectories, for epochs of one."""
    seed = epoch_seed()
    return [seed, *(seeds.fold(seed, seeds.Stream.TRAJECTORY, i) for i in (1, 2))]


def results(replicas: Replicas) -> dict[str, np.ndarray]:
    """What epochs and validations return, by name."""
    rule = rules.create("trainable_adam")  # Several weights, and traced fast.
    found, weights = {}, rule.weights()

    def run(name, made, function, num_unrolls, *arguments, seed=epoch_seed()):
        meta = made.initial_state(weights)
        epoch = getattr(made, function)(meta, seed, tf.constant(num_unrolls), *arguments)
        for i, leaf in enumerate(tf.nest.flatten(epoch)):
            found[f"{name} {i:02d}"] = leaf.numpy()
        return epoch.meta

    made = make(replicas, rule, "adam:0.001")
    run("interleave", made, "interleave", 4, tf.constant(0.5))
    add(found, "weights", run("train", made, "train", 50).weights)
    add(found, "gradient", gradient_of(run("first", made, "train", 1)))
    if replicas.num_replicas == 1:
        alone = make(Replicas(), rule, "adam:0.001")
        for i, seed in enumerate(single_seeds()[:2]):
            add(found, f"single {i}", gradient_of(run(f"single {i}", alone, "train", 1, seed=seed)))
        runs = [made.validate(weights, seeds.fold(epoch_seed(), i), tf.constant(3)) for i in (4, 5)]
        together = tf.nest.map_structure(lambda *x: tf.stack(x), *runs)
    else:
        together = made.validate_together(weights, epoch_seed(), tf.constant(4), tf.constant(3))
    found.update({f"validation {i}": x.numpy() for i, x in enumerate(together)})
    return found


def gradient_of(meta: epochs.MetaState) -> dict[str, tf.Tensor]:
    """The gradient of the only meta-step: Adam's first moment is a tenth of it."""
    return {"of all weights": meta.meta_loss_optimizer.first / 0.1}


def add(found: dict[str, np.ndarray], name: str, values: dict[str, tf.Tensor]) -> None:
    """Adds tensors by name."""
    found.update({f"{name} {key}": value.numpy() for key, value in values.items()})


if __name__ == "__main__":
    kind, out = sys.argv[1:]
    np.savez(out, **results(replicas_of(kind)))
