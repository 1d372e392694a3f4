"""The job scripts in docs/examples, as far as they can be checked without a cluster."""

import json
import os
import pathlib
import re
import shlex
import stat
import subprocess

import pytest
import yaml

from l2o_tf import cli
from l2o_tf.evaluation.config import EvaluateConfig
from l2o_tf.run.config import TrainConfig

REPOSITORY = pathlib.Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "docs" / "examples"
CONFIGS = {"train": TrainConfig, "evaluate": EvaluateConfig}
# What stands in for Python, srun and scontrol: says how it was called.
STUB = """#!/bin/bash
case "$(basename "$0")" in
  srun) exec "$@" ;;
  scontrol) printf 'node-a\\nnode-b\\n' ;;
  *) printf '%q ' "$@"; printf '\\n%s' "${TF_CONFIG:-}" ;;
esac
"""


def called(command, tmp_path, **environment):
    """The flags that a script calls a command of this package with, and its TF_CONFIG."""
    for name in ("python", "srun", "scontrol"):
        stub = tmp_path / name
        stub.write_text(STUB)
        stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **environment}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    line, _, tf_config = done.stdout.partition("\n")
    option, module, *flags = shlex.split(line)
    assert option == "-m"
    name = module.removeprefix("l2o_tf.")
    return cli.parse(CONFIGS[name], [name, *flags]), tf_config


def test_every_script_is_a_valid_one_of_bash():
    scripts = sorted(EXAMPLES.glob("*.slurm"))
    assert len(scripts) == 2
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], check=True)
        lines = script.read_text().splitlines()
        options = [line for line in lines if line.startswith("#SBATCH")]
        # SLURM reads no options behind the first command.
        assert options and lines.index(options[-1]) < lines.index("set -euo pipefail")
        assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", option) for option in options)


@pytest.mark.parametrize("task", [1, 8])
def test_the_array_evaluates_a_shard_per_task(tmp_path, task):
    config, _ = called(
        ["bash", str(EXAMPLES / "evaluate.slurm"), "adam:0.01,sgd:0.1", "/shared/out"],
        tmp_path,
        SLURM_ARRAY_TASK_ID=str(task),
        SLURM_ARRAY_TASK_COUNT="8",
    )
    assert config.shard_of() == (task, 8) and config.workdir == "/shared/out"
    assert config.rules == ("adam:0.01", "sgd:0.1")


@pytest.mark.parametrize("number", [0, 1])
def test_the_tasks_of_a_training_are_one_cluster(tmp_path, number):
    config, tf_config = called(
        ["bash", str(EXAMPLES / "train_workers.slurm"), "/shared/run"],
        tmp_path,
        SLURM_JOB_NODELIST="node-[a-b]",
        SLURM_PROCID=str(number),
    )
    assert config.strategy == "multi_worker" and config.workdir == "/shared/run"
    assert json.loads(tf_config) == {
        "cluster": {"worker": ["node-a:12345", "node-b:12345"]},
        "task": {"type": "worker", "index": number},
    }


def test_the_pods_of_the_job_evaluate_all_shards(tmp_path):
    job = yaml.safe_load((EXAMPLES / "evaluate-job.yaml").read_text())
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"], spec["completionMode"]) == (
        "batch/v1",
        "Job",
        "Indexed",
    )
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    command = [*container["command"], *container["args"]]
    shards = []
    for index in range(spec["completions"]):
        config, _ = called(command, tmp_path, JOB_COMPLETION_INDEX=str(index))
        shards.append(config.shard_of())
    assert shards == [(i + 1, spec["completions"]) for i in range(spec["completions"])]
