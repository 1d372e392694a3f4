"""Flags of training as they are typed: every flagfile runs, wrong values end in one line."""

import csv
import itertools
import pathlib
import shlex
import sys

import pytest

from l2o_tf import cli, train
from l2o_tf.core import errors
from l2o_tf.run import directory, session
from l2o_tf.run.config import TrainConfig
from l2o_tf.run.metrics import MetricsFile

FLAGFILES = sorted((pathlib.Path(__file__).parents[2] / "flags").glob("*.flags"))
TINY = (
    "--optimizee=simple",
    "--optimizee_options={}",
    "--dataset=digits",
    "--num_epochs=2",
    "--validation_epochs=1",
    "--num_steps=40",
    "--unroll_length=20",
    "--problem_sets=",
    "--scoring_examples=0",
)
TINY_STAGES = ("--curriculum_steps=40,80", "--validation_steps=80,120")
TINY_LENGTHS = ("--random_num_unrolls=1,1,2", "--random_unroll_length=5,5,10")


def rows_of(workdir):
    with (workdir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow  # Each compiles anew; the fast tests below run the techniques.
@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_every_flagfile_runs_two_epochs_and_prints_its_resolved_flags(path, tmp_path, capsys):
    workdir = tmp_path / "run"
    flags = [f"--flagfile={path}", *TINY, f"--workdir={workdir}"]
    recipe = path.read_text()
    if "--curriculum\n" in recipe:
        flags += TINY_STAGES
    if "--random_num_unrolls" in recipe:
        flags += TINY_LENGTHS
    run_config = cli.parse(TrainConfig, ["train", *flags])
    session.train(run_config, cli.say)
    printed = capsys.readouterr().err
    lines = printed.splitlines()
    assert lines[1] == f"training {run_config.rule} in {workdir} with"
    own = itertools.takewhile(lambda line: not line.startswith("  and "), lines[2:])
    shown = shlex.split(" ".join(line.strip() for line in own))
    assert cli.parse(TrainConfig, ["train", *shown]).resolved() == run_config.resolved()
    rows = rows_of(workdir)
    assert [row["epoch"] for row in rows] == ["1", "2", "2"]
    assert rows[-1]["kind"] == "validation" and (workdir / "rule.npz").exists()


@pytest.mark.slow
def test_self_improving_ends_with_its_last_epoch(tmp_path):
    flags = [
        *TINY,
        "--rule=global_learning_rate",
        "--num_epochs=3",
        "--self_improving_epochs=2",
        f"--workdir={tmp_path}/run",
    ]
    session.train(cli.parse(TrainConfig, ["train", *flags]), cli.say)
    kinds = [row["kind"] for row in rows_of(tmp_path / "run")]
    assert kinds == ["self_improving", "self_improving", "meta_loss", "validation"]


@pytest.mark.slow
def test_several_optimizees_are_each_validated_and_named(tmp_path, capsys):
    flags = [
        *TINY,
        "--optimizee=simple,square_cos",
        "--optimizee_weights=0,1",
        "--validation_epochs=2",
        "--balance_losses",
        f"--workdir={tmp_path}/run",
    ]
    run_config = cli.parse(TrainConfig, ["train", *flags])
    session.train(run_config, cli.say)
    *trained, validation = rows_of(tmp_path / "run")
    assert [row["optimizee"] for row in trained] == ["square_cos"] * 2
    assert validation["optimizee"] == trained[0]["loss_on_simple"] == ""
    on = [float(validation[f"loss_on_{name}"]) for name in ("simple", "square_cos")]
    assert float(validation["loss"]) == pytest.approx(sum(on) / 2, rel=1e-6)
    assert on[0] != on[1]
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "validation after" in line)
    assert f"(simple {on[0]:.4g}, square_cos {on[1]:.4g})" in line
    (path,) = (tmp_path / "run").glob("events.out.*")
    content = path.read_bytes()
    assert b"validation/loss_on_simple" in content and b"validation/loss_on_square_cos" in content

    metrics = tmp_path / "run" / "metrics.csv"
    older = [line.rpartition(",loss_on_simple")[0] or line for line in metrics.open()]
    with pytest.raises(errors.InputError, match="an older version began the run and validated it"):
        metrics.write_text("\n".join([older[0], *older[1:]]))
        MetricsFile(metrics, 3, None, ("simple", "square_cos"), ("simple", "square_cos"))


def run_command(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["train", *flags])
    with pytest.raises(SystemExit) as exit:
        cli.run(TrainConfig, train.DESCRIPTION, train.main)
    return exit.value.code


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--imitation_r=1.3"], "--imitation_r=1.3 must be a probability, between 0 and 1"),
        (["--imitation_r=often"], "--imitation_r=often is not a list of numbers"),
        (["--teachers=lion:0.1"], "--teachers=lion:0.1 must be name:learning_rate of an analyt"),
        (["--teachers=adam:-1"], "--teachers=adam:-1"),
        (["--teachers=adam:fast"], "--teachers=adam:fast"),
        (
            ["--curriculum", "--curriculum_steps=200,100"],
            "--curriculum_steps=200,100 must be increasing from",
        ),
        (["--num_steps=110"], "--num_steps=110 must be a multiple of --unroll_length=20"),
        (["--estimator=foo"], "unknown estimator 'foo'; known: bptt, es, pes"),
        (["--random_scaling=-1"], "--random_scaling=-1.0 must be at least 0"),
        (["--self_improving_epochs=x"], "self_improving_epochs"),
    ],
)
def test_wrong_flags_are_one_line_that_names_them_and_exit_code_2(
    flags, message, tmp_path, monkeypatch, capsys
):
    arguments = [*flags, "--dataset=digits", f"--workdir={tmp_path}/run"]
    assert run_command(monkeypatch, *arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1
    assert message in printed
    assert not (tmp_path / "run").exists()


def test_resuming_with_another_config_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    recorded = TrainConfig(imitation_r=(0.3,))
    directory.RunDirectory(str(tmp_path / "run")).create(recorded, threads=2)
    assert run_command(monkeypatch, "--imitation_r=0.2", f"--workdir={tmp_path}/run") == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1
    assert "--imitation_r=0.2 (it has 0.3)" in printed


@pytest.mark.parametrize("flags", [(), ("--random_scaling=3",), ("--problem_sets=mnist_mlp",)])
def test_the_first_line_says_which_images_also_of_wrapped_optimizees(flags):
    told = []
    flags = ("--dataset=digits", "--dry_run", *flags)
    session.train(cli.parse(TrainConfig, ["train", "--workdir=unused", *flags]), told.append)
    assert ", 1,437 images of digits (train), 8x8x1, " in told[0].splitlines()[0]
