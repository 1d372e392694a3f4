"""Trainings of several seeds: what is started, shown, ended and returned."""

import json
import shlex
import signal
import sys
import threading
import time

import numpy as np
import pytest

from l2o_tf import artifacts, cli, rules, train
from l2o_tf.core import errors
from l2o_tf.evaluation.config import SelectConfig
from l2o_tf.run import many
from l2o_tf.run.config import TrainConfig

TINY = {
    "optimizee": ("simple",),
    "dataset": "digits",
    "num_epochs": 2,
    "validation_epochs": 1,
    "num_steps": 40,
}
# A process that says where it is, and ends by SIGTERM as a training does.
CHILD = """
import signal, sys, time
def stop(*_):
    sys.stderr.write("interrupted: saved\\n")
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
sys.stderr.write("training dm with\\n  --flags\\nepoch 1 of 2: loss 3\\n")
sys.stderr.flush()
time.sleep(SECONDS)
sys.stderr.write("done after 2 epochs\\n")
CODE
"""


def fake(monkeypatch, code="", seconds=0.0):
    """Puts a short program in the place of trainings; `code` by seed ends it."""
    started = {}

    def command(run_config):
        started[run_config.seed] = time.monotonic()
        last = code.get(run_config.seed, "") if isinstance(code, dict) else code
        program = CHILD.replace("SECONDS", str(seconds)).replace("CODE", last)
        return [sys.executable, "-c", program]

    monkeypatch.setattr(many, "_command", command)
    monkeypatch.setattr(many.build, "parts", lambda run_config: None)
    return started


def test_each_seed_has_its_own_directory_and_flags(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(many.build, "parts", lambda run_config: None)

    def command(run_config):
        commands.append(real(run_config))
        return [sys.executable, "-c", ""]

    real = many._command
    monkeypatch.setattr(many, "_command", command)
    config = TrainConfig(**TINY, seeds=(3, 0), workdir=f"{tmp_path}/a b", imitation_r=(0.5,))
    assert many.train(config, lambda line: None) == {3: 0, 0: 0}
    for seed, line in zip((3, 0), commands):
        assert line[1:3] == ["-m", "l2o_tf.train"]
        parsed = cli.parse(TrainConfig, line[2:])
        expected = TrainConfig(
            **TINY, seed=seed, workdir=f"{tmp_path}/a b/seed_{seed}", imitation_r=(0.5,)
        )
        assert parsed == expected


def test_seeds_that_have_a_copy_of_their_first_rule_do_not_need_it_again(monkeypatch, tmp_path):
    checked = []
    fake(monkeypatch)
    monkeypatch.setattr(many.build, "parts", lambda one: checked.append(one.init_from))
    workdir = tmp_path / "runs"
    config = TrainConfig(**TINY, seeds=(0, 1), init_from="gone", workdir=str(workdir))
    for seed, first in ((0, "gone"), (1, str(workdir / "seed_0" / "initial"))):
        copy = workdir / f"seed_{seed}" / "initial"
        artifacts.save_rule(copy, rules.create("dm"))
        (workdir / f"seed_{seed}" / "config.json").write_text(
            json.dumps(many._of_seed(config, seed).identity())
        )
        many.train(config, lambda line: None)
        assert checked[-1] == first


def test_progress_is_one_line_per_seed_and_the_rest_is_in_its_log(monkeypatch, tmp_path):
    fake(monkeypatch)
    lines = []
    config = TrainConfig(**TINY, seeds=(0, 1), jobs=2, workdir=str(tmp_path / "runs"))
    many.train(config, lines.append)
    shown = sorted(line for line in lines if line.startswith("seed "))
    assert shown == [
        "seed 0: done after 2 epochs",
        "seed 0: epoch 1 of 2: loss 3",
        "seed 1: done after 2 epochs",
        "seed 1: epoch 1 of 2: loss 3",
    ]
    assert "all 2 seeds are done" in lines[-1] and "l2o_tf.select" in lines[-1]
    assert (tmp_path / "runs" / "seed_1.log").read_text().startswith("training dm with\n  --flags")


def test_the_exit_code_is_the_worst(monkeypatch, tmp_path, capsys):
    ends = {1: "sys.exit(2)", 2: "import os; os.kill(os.getpid(), 9)"}
    fake(monkeypatch, ends)
    config = TrainConfig(**TINY, seeds=(0, 1, 2), jobs=3, workdir=str(tmp_path / "runs"))
    lines = []
    assert many.train(config, lines.append) == {0: 0, 1: 2, 2: 137}
    assert "seed 1 ended with exit code 2: see " in lines[-2] and "seed_1.log" in lines[-2]
    assert train.main(config) == 137
    assert "seed 2 ended with exit code 137" in capsys.readouterr().err


def test_no_more_than_jobs_run_at_a_time(monkeypatch, tmp_path):
    started = fake(monkeypatch, seconds=0.5)
    config = TrainConfig(**TINY, seeds=(0, 1, 2), jobs=2, workdir=str(tmp_path / "runs"))
    many.train(config, lambda line: None)
    assert started[2] - max(started[0], started[1]) >= 0.4


def test_a_dry_run_of_begun_seeds_is_checked_as_each_and_starts_nothing(monkeypatch, tmp_path):
    started, shown = fake(monkeypatch), []
    monkeypatch.setattr(many.session, "train", lambda one, tell: shown.append(one))
    config = TrainConfig(**TINY, seeds=(0, 1), jobs=3, workdir=str(tmp_path), dry_run=True)
    begun = many._of_seed(config, 1)
    many.directory.RunDirectory(begun.workdir).create(begun, threads=1)
    lines = []
    assert many.train(config, lines.append) == {0: 0, 1: 0} and not started
    assert lines == ["2 runs, 2 at a time; one of them:"]
    assert shown == [many._of_seed(config, 0)] and shown[0].dry_run


def test_more_jobs_than_seeds_leave_no_cpu_idle(monkeypatch, tmp_path):
    shared = []
    fake(monkeypatch)
    monkeypatch.setattr(many.processes, "shared_machine", lambda n: shared.append(n) or {})
    config = TrainConfig(**TINY, seeds=(0, 1), jobs=8, workdir=str(tmp_path / "runs"))
    many.train(config, lambda line: None)
    assert shared == [2]


def test_an_interrupt_lets_all_save_and_starts_no_other(monkeypatch, tmp_path):
    started = fake(monkeypatch, seconds=60)
    running = set()

    def tell(line):
        if "epoch 1" in line:
            running.add(line)
            if len(running) == 2:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    config = TrainConfig(**TINY, seeds=(0, 1, 2), jobs=2, workdir=str(tmp_path / "runs"))
    begun = time.monotonic()
    # A job in the background ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(errors.Interrupted, match=r"To resume:\n  python -m l2o_tf.train .*0,1,2"):
        many.train(config, tell)
    assert time.monotonic() - begun < 50 and started.keys() == {0, 1}
    for seed in (0, 1):
        log = (tmp_path / "runs" / f"seed_{seed}.log").read_text()
        assert log.endswith("interrupted: saved\n") and "done" not in log


def test_a_wrong_flag_is_said_once_and_leaves_nothing(tmp_path):
    config = TrainConfig(**{**TINY, "optimizee": ("foo",)}, seeds=(0, 1), workdir=f"{tmp_path}/r")
    with pytest.raises(errors.InputError, match="unknown optimizee 'foo'"):
        many.train(config, pytest.fail)
    assert not (tmp_path / "r").exists()


def test_a_run_with_other_flags_stops_all(monkeypatch, tmp_path):
    started = fake(monkeypatch)
    other = TrainConfig(**TINY, seed=1, imitation_r=(0.3,))
    many.directory.RunDirectory(str(tmp_path / "seed_1")).create(other, threads=1)
    config = TrainConfig(**TINY, seeds=(0, 1), workdir=str(tmp_path))
    with pytest.raises(errors.InputError, match=r"--imitation_r=0.0 \(it has 0.3\)"):
        many.train(config, pytest.fail)
    assert not started


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"seeds": (1, 1)}, "--seeds=1,1 must be different numbers"),
        ({"seeds": (-1,)}, "--seeds=-1 must be between 0"),
        ({"seeds": (1, 2), "seed": 3}, "--seed cannot be combined with --seeds"),
        ({"jobs": 2}, "--jobs=2 needs --seeds=A,B"),
        ({"seeds": (1,), "jobs": 0}, "--jobs=0 must be at least 1"),
    ],
)
def test_flags_out_of_range(flags, message):
    with pytest.raises(errors.InputError, match=message):
        TrainConfig(**flags)


@pytest.mark.slow  # Processes that import TensorFlow.
def test_a_seed_among_others_has_the_bits_of_one_alone_with_as_many_threads(tmp_path):
    config = TrainConfig(**TINY, seeds=(0, 1), jobs=1, workdir=str(tmp_path / "many"))
    assert train.main(config) == 0
    assert train.main(config) == 0  # They are done.
    assert train.main(TrainConfig(**TINY, seed=1, workdir=str(tmp_path / "one"))) == 0
    rules = [artifacts.load_rule(tmp_path / d).weights() for d in ("many/seed_1", "one")]
    for name in rules[0]:
        np.testing.assert_array_equal(rules[0][name], rules[1][name])
    assert "is done" in (tmp_path / "many" / "seed_0.log").read_text()


def test_the_command_that_selects_is_as_it_must_be_typed(monkeypatch, tmp_path):
    fake(monkeypatch)
    lines, workdir = [], str(tmp_path / "a, b")
    flags = {"seeds": (0, 1), "jobs": 2, "workdir": workdir, "data_dir": "my data"}
    many.train(TrainConfig(**TINY, **flags), lines.append)
    module, *words = shlex.split(lines[-1].partition("python -m ")[2])
    assert module == "l2o_tf.select"
    found = cli.parse(SelectConfig, [module, *words])
    assert (found.runs, found.workdir) == ((workdir,), f"{workdir}_selected")
    assert (found.optimizees, found.dataset) == (("simple",), "digits")
    assert found.data_dir == "my data"
