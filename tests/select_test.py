"""The command line of `python -m l2o_tf.select`."""

import os
import pathlib
import subprocess
import sys

import pytest

from l2o_tf import select
from l2o_tf.core import errors
from l2o_tf.evaluation.config import SelectConfig

PACKAGE = pathlib.Path(__file__).parents[1] / "l2o_tf"


def test_default_rungs_are_a_tenth_and_three_tenths():
    def rungs(num_steps):
        return SelectConfig(runs=("x",), workdir="y", num_steps=num_steps).all_rungs()

    assert rungs(10000) == (1000, 3000, 10000)
    assert rungs(1000) == (100, 300, 1000)
    assert rungs(500) == (150, 500)
    assert rungs(100) == (100,)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"runs": ()}, "no runs: python -m l2o_tf.select RUN"),
        ({"workdir": ""}, "--workdir=DIR is needed"),
        ({"split": "test"}, "a rule must not be chosen on them; use validation or train"),
        ({"split": "test[:100]"}, r"--split=test\[:100\]: results are reported on the test images"),
        ({"split": "tset"}, "--split=tset must be one of"),
        ({"optimizees": ()}, "--optimizees is empty"),
        ({"jobs": 0}, "--jobs=0 must be at least 1"),
        ({"rungs": (3000, 1000)}, "--rungs=3000,1000 must be positive, increasing and below"),
        ({"rungs": (10000,)}, "--rungs=10000 must be positive, increasing and below"),
        ({"shard": "3/2"}, "--shard=3/2 must be i/n with i from 1 to n"),
        ({"shard": "2"}, "--shard=2 must be i/n"),
        ({"num_seeds": 0}, "--num_seeds=0 must be at least 1"),
    ],
)
def test_flags_out_of_range(flags, message):
    with pytest.raises(errors.InputError, match=message):
        SelectConfig(**{"runs": ("x",), "workdir": "y", **flags})


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ("x --jobs=2 y", {"runs": ("x", "y"), "jobs": 2, "workdir": "w"}),
        ("--runs=x,y z", {"runs": ("x", "y", "z")}),
        ("x y --workdir out --num_steps=100", {"runs": ("x", "y"), "workdir": "out"}),
        ("--workdir out x --jobs 2 y --tf32 z", {"runs": ("x", "y", "z"), "jobs": 2}),
        ("x --runs y -- --z", {"runs": ("y", "x", "--z")}),
    ],
)
def test_arguments_become_runs(monkeypatch, arguments, expected):
    given = []
    monkeypatch.setattr(select, "main", given.append)
    monkeypatch.setattr(sys, "argv", ["select", "--workdir=w", *arguments.split()])
    with pytest.raises(SystemExit) as exited:
        select.command()
    assert not exited.value.code
    (config,) = given
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.slow
@pytest.mark.parametrize("by", [["-m", "l2o_tf.select"], [str(PACKAGE / "select.py")]])
def test_the_command_does_not_hide_the_standard_module_of_its_name(by):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, *by, "/nothing", "--optimizees=simple", "--workdir=/nothing/out"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.stderr == "error: /nothing: no such directory; pass directories of runs\n"
    assert done.returncode == 2
