"""Several trajectories per meta-step: means of gradients, by whomever they are found."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.training.replicas import Replicas
from tests.training import replica_program

REPOSITORY = pathlib.Path(__file__).parents[2]


def first_step(made, seed):
    rule = rules.from_spec("sgd:0.1")
    epoch = made.train(made.initial_state(rule.weights()), seed, tf.constant(1))
    return float(rule.weights()["learning_rate"] - epoch.meta.weights["learning_rate"]), epoch


@pytest.fixture(scope="module")
def single():
    """The meta-gradients and the losses of the first three trajectories, each by itself."""
    made = replica_program.make(Replicas(), rules.from_spec("sgd:0.1"), "sgd:1")
    return [first_step(made, seed) for seed in replica_program.single_seeds()]


@pytest.mark.parametrize("count", [2, 3])
def test_the_meta_gradient_is_the_mean_of_those_of_single_trajectories(single, count):
    made = replica_program.make(Replicas(count), rules.from_spec("sgd:0.1"), "sgd:1")
    found, epoch = first_step(made, replica_program.epoch_seed())
    expected = np.mean([gradient for gradient, _ in single[:count]])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(epoch.gradient_norms[0], abs(found), rtol=1e-5)
    losses = [float(own.losses[0]) for _, own in single]
    assert abs(losses[0] - losses[1]) > 0.01, "the trajectories differ"
    np.testing.assert_allclose(epoch.losses[0], np.mean(losses[:count]), rtol=1e-6)
    assert int(epoch.num_steps[0]) == 4


def test_one_trajectory_is_the_one_of_the_epochs_seed():
    seed = replica_program.epoch_seed()
    (only,) = Replicas().seeds(seed)
    assert only is seed
    first, second = Replicas(2).seeds(seed)
    np.testing.assert_array_equal(first, seed)
    assert not np.array_equal(first, second)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def start(kind, out, **environment):
    command = [sys.executable, "-m", "tests.training.replica_program", kind, str(out)]
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2"}
    return subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **threads, **environment})


def start_workers(folder):
    ports = free_ports(2)
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    for i in range(2):
        task = {"type": "worker", "index": i}
        text = json.dumps({"cluster": cluster, "task": task})
        yield start("multi_worker", folder / f"worker_{i}.npz", TF_CONFIG=text)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What two trajectories give on one device, on two, and in two processes."""
    folder = tmp_path_factory.mktemp("replicas")
    alone = [start("none", folder / "none.npz"), start("mirrored", folder / "mirrored.npz")]
    assert [process.wait() for process in [*alone, *start_workers(folder)]] == [0] * 4
    return {path.stem: dict(np.load(path)) for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mirrored", "worker_0"])
def test_two_replicas_have_the_numbers_of_two_trajectories_on_one(results, kind):
    expected, found = results["none"], results[kind]
    assert found.keys() == {name for name in expected if not name.startswith("single")}
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.slow
def test_two_processes_have_the_same_weights_after_fifty_meta_steps(results):
    first, second = results["worker_0"], results["worker_1"]
    names = [name for name in first if name.startswith("weights ")]
    assert len(names) > 1
    for name, start in rules.create("trainable_adam").weights().items():
        assert np.abs(first[f"weights {name}"] - start).max() > 1e-4, name
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.slow
def test_the_meta_gradient_of_two_processes_is_the_mean_of_two_single_ones(results):
    alone, name = results["none"], "of all weights"
    first, second = alone[f"single 0 {name}"], alone[f"single 1 {name}"]
    assert np.abs(first - second).max() > 1e-4
    for kind in ("worker_0", "worker_1"):
        found = results[kind][f"gradient {name}"]
        np.testing.assert_allclose(found, (first + second) / 2, rtol=0, atol=1e-6)
