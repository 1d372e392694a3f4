"""Processes that train together: what they need, and how they end."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.run import config, directory, workers
from l2o_tf.training import replicas
from tests.training.replicas_test import free_ports

REPOSITORY = pathlib.Path(__file__).parents[2]
TINY = (
    "--rule=global_learning_rate",
    "--optimizee=mlp",
    "--dataset=digits",
    "--batch_size=8",
    "--num_steps=40",
    "--period_epochs=2",
    "--validation_epochs=3",
    "--imitation_r=0.5",
    "--checkpoint_seconds=0",
)
TWO = {"worker": ["localhost:1", "localhost:2"]}


@pytest.mark.parametrize(
    "cluster, task, found",
    [
        (TWO, {"type": "worker", "index": 0}, (2, 0)),
        (TWO, {"type": "worker", "index": 1}, (2, 1)),
        ({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, {"type": "worker", "index": 0}, (3, 1)),
        ({"chief": ["a:1"], "worker": ["b:1"]}, {"type": "chief", "index": 0}, (2, 0)),
    ],
)
def test_the_first_of_a_cluster_is_its_chief(cluster, task, found):
    assert workers._cluster(json.dumps({"cluster": cluster, "task": task})) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"cluster": {}}',
        json.dumps({"cluster": TWO, "task": {"type": "worker", "index": 2}}),
        json.dumps({"cluster": TWO, "task": {"type": "evaluator", "index": 0}}),
    ],
)
def test_a_task_that_is_none_of_a_cluster_is_one_line_with_an_example(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(errors.InputError, match="TF_CONFIG.*host0:12345") as raised:
        workers.create(config.TrainConfig(strategy="multi_worker"))
    assert "\n" not in str(raised.value)


def test_a_run_is_resumed_by_as_many_replicas(tmp_path):
    run = directory.RunDirectory(str(tmp_path / "run"))
    run.create(config.TrainConfig(), threads=1, num_replicas=2)
    run.check(config.TrainConfig(), 2)
    with pytest.raises(errors.InputError, match="a run of 2 replicas, not of 1"):
        run.check(config.TrainConfig())


@pytest.mark.parametrize("data", [b"", b"abcd", b"any\0bytes"])
def test_one_process_agrees_with_itself(data):
    alone = replicas.Replicas()
    assert alone.from_chief(data) == data
    assert alone.any(True) and not alone.any(False)


def start(workdir, *flags):
    """Two processes that train together, the chief first."""
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    started = []
    for i in range(2):
        task = {"type": "worker", "index": i}
        environment = {
            **os.environ,
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": task}),
            "TF_NUM_INTRAOP_THREADS": "1",
        }
        command = [sys.executable, "-m", "l2o_tf.train", *TINY, *flags]
        command += ["--strategy=multi_worker", *([f"--workdir={workdir}"] if i == 0 else [])]
        started.append(
            subprocess.Popen(
                command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
            )
        )
    return started


def end(processes):
    """The exit codes and what was said."""
    said = [process.communicate(timeout=1800)[1] for process in processes]
    return [process.returncode for process in processes], said


def wait_for(process, text):
    """Reads until a line has `text`."""
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"it has ended without {text!r}")


@pytest.mark.slow
def test_a_run_goes_on_whichever_way_a_process_ends_and_has_the_numbers_of_one(tmp_path):
    workdir, flags = tmp_path / "run", ("--num_epochs=80",)
    chief, other = start(workdir, *flags)
    wait_for(chief, "epoch ")
    other.kill()
    codes, said = end([chief, other])
    assert codes == [2, -signal.SIGKILL]
    assert "error: another process of TF_CONFIG has ended" in said[0].splitlines()[-1]
    assert "Traceback" not in said[0]

    chief, other = start(workdir, *flags)
    wait_for(chief, "resuming ")
    wait_for(other, "training ")
    other.terminate()
    codes, said = end([chief, other])
    assert codes == [130, 130]
    assert "interrupted: saved" in said[0] and "the chief has saved the run" in said[1]

    codes, said = end(start(workdir, *flags))
    assert codes == [0, 0] and "done after 80 epochs" in said[0]
    alone = tmp_path / "alone"
    command = [sys.executable, "-m", "l2o_tf.train", *TINY, *flags, f"--workdir={alone}"]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1"}
    subprocess.run(
        [*command, "--trajectories_per_step=2"], cwd=REPOSITORY, env=environment, check=True
    )
    assert losses(workdir) == pytest.approx(losses(alone), rel=1e-5)
    with np.load(workdir / "rule.npz") as ours, np.load(alone / "rule.npz") as theirs:
        for name in theirs.files:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5)


def losses(workdir):
    lines = (workdir / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("loss")
    return [float(line.split(",")[column]) for line in lines[1:]]
