"""python -m l2o_tf.train from its flags to its files."""

import csv
import json
import shlex
import shutil

import numpy as np
import pytest

from l2o_tf import artifacts, cli, loading
from l2o_tf.core import errors, files
from l2o_tf.evaluation.config import EvaluateConfig
from l2o_tf.run import config, session
from l2o_tf.training import trainer
from tests import ctrl_c

FLAGS = {
    "rule_options": '{"units": [4]}',
    "optimizee": ("simple",),
    "dataset": "digits",
    "curriculum": True,
    "curriculum_steps": (40, 80),
    "period_epochs": 2,
    "min_periods": 2,
    "validation_epochs": 2,
    "num_epochs": 6,
    "imitation_r": (0.5,),
    "weight_average": 0.5,
}


def train(workdir, **flags):
    try:
        session.train(config.TrainConfig(**{**FLAGS, **flags}, workdir=str(workdir)), cli.say)
    except errors.Interrupted as interrupt:
        cli.say(f"\ninterrupted: {interrupt}")
        return 130
    return 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert train(workdir) == 0
    return workdir


def test_a_run_leaves_its_files(finished, capsys):
    names = {path.name.partition(".")[0] for path in finished.iterdir()}
    assert names == {
        "",
        "config",
        "checkpoints",
        "events",
        "metrics",
        "rule",
        "run",
        "snapshots",
        "stages",
    }
    assert json.loads((finished / "config.json").read_text())["curriculum_steps"] == [40, 80]
    with (finished / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["event"] for row in rows] == [str(i + 1) for i in range(len(rows))]
    assert {row["kind"] for row in rows} >= {"meta_loss", "imitation", "validation"}
    best = [row for row in rows if row["decision"] == "new best"][-1]
    card = json.loads((finished / "rule.json").read_text())
    assert card["validation_loss"] == pytest.approx(float(best["loss"]), rel=1e-6)
    assert (card["epoch"], card["stage"]) == (int(best["epoch"]), int(best["stage"]))


def test_the_exported_rule_is_the_best_one_and_can_be_loaded(finished):
    rule = loading.load(finished)
    arrays = dict(np.load(finished / "rule.npz"))
    assert arrays.keys() == rule.weights().keys()
    for name, value in rule.weights().items():
        np.testing.assert_array_equal(value, arrays[name])


@pytest.mark.slow
def test_an_ensemble_is_validated_by_logarithms_of_relative_losses(tmp_path):
    flags = {
        "rule": "global_learning_rate",
        "rule_options": '{"initial_rate": 0.001}',
        "optimizee": ("mlp",),
        "problem_sets": ("bowl",),
        "objective": "log",
        "scoring_examples": 100,
        "meta_optimizer": "adam",
        "meta_learning_rate": 3e-3,
        "curriculum": False,
        "num_steps": 40,
        "num_epochs": 24,
        "period_epochs": 8,
        "validation_epochs": 4,
        "imitation_r": (0.0,),
    }
    assert train(tmp_path / "run", **flags) == 0
    with (tmp_path / "run" / "metrics.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file) if row["decision"]]
    assert len(losses) == 3 and 0 > losses[0] > losses[1] > losses[2]
    assert float(loading.load(tmp_path / "run").weights()["learning_rate"]) > 0.02


def test_a_finished_run_says_so_and_stops(finished, capsys):
    before = (finished / "metrics.csv").read_bytes()
    assert train(finished) == 0
    message = capsys.readouterr().err
    assert "is done" in message and "python -m l2o_tf.evaluate --rules=" in message
    assert (finished / "metrics.csv").read_bytes() == before


def test_the_command_that_evaluates_is_as_it_must_be_typed(finished, tmp_path, capsys):
    workdir = tmp_path / "a, b"
    shutil.copytree(finished, workdir)
    assert train(workdir) == 0
    command = capsys.readouterr().err.partition("python -m ")[2].partition("\n")[0]
    module, *words = shlex.split(command)
    assert module == "l2o_tf.evaluate"
    found = cli.parse(EvaluateConfig, [module, *words])
    assert found.rules == (str(workdir), "tuned:adam", "tuned:sgd")
    assert found.workdir == f"{workdir}/evaluation"


@pytest.mark.slow
def test_an_interrupted_and_resumed_run_has_the_same_bits(finished, tmp_path, monkeypatch, capsys):
    run = trainer.Trainer.run

    def interrupted(self, progress, watch):
        for i, event in enumerate(run(self, progress, watch)):
            if i == 3:
                raise KeyboardInterrupt
            yield event

    for _ in range(2):
        monkeypatch.setattr(trainer.Trainer, "run", interrupted)
        assert train(tmp_path / "run") == 130
        assert "To resume:\n  python -m l2o_tf.train --optimizee=simple" in capsys.readouterr().err
    monkeypatch.setattr(trainer.Trainer, "run", run)
    assert train(tmp_path / "run") == 0
    metrics = [(d / "metrics.csv").read_bytes() for d in (finished, tmp_path / "run")]
    assert metrics[0] == metrics[1]
    weights = [artifacts.load_rule(d).weights() for d in (finished, tmp_path / "run")]
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    kept = [
        {path.name: path.read_bytes() for path in (d / "snapshots").iterdir()}
        for d in (finished, tmp_path / "run")
    ]
    assert kept[0] == kept[1] and len(kept[0]) > 1


def test_a_run_is_not_resumed_with_other_flags(finished):
    with pytest.raises(errors.InputError, match=r"--seed=5 \(it has 0\)"):
        train(finished, seed=5)


def test_a_directory_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(errors.InputError, match="exists and holds no run"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"rule": "foo"}, "unknown update rule 'foo'; known: "),
        ({"rule": "adam"}, "'adam' has no weights to train; rules that have: dm, rnnprop"),
        ({"optimizee": ("foo",)}, "unknown optimizee 'foo'; known: "),
        ({"problem_sets": ("foo",)}, "--problem_sets=foo: unknown problem set; known: mnist_mlp, "),
        ({"init_lr_range": (0.1, 1.0)}, "are no options of the rule dm: .*init_lr_range"),
        ({"rule_options": '{"units": "x"}'}, "are no options of the rule dm: "),
        ({"teachers": ("foo:0.1",)}, "--teachers=foo:0.1 must be name:learning_rate of an analyt"),
        ({"teachers": ("dm",)}, "--teachers=dm must be name:learning_rate of an analytical rule"),
    ],
)
def test_a_wrong_name_leaves_no_directory(tmp_path, flags, message):
    with pytest.raises(errors.InputError, match=message):
        train(tmp_path / "run", **flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", [b"", b"PK\\x03\\x04 not really"])
def test_a_damaged_checkpoint_is_reported(finished, tmp_path, damage):
    workdir = tmp_path / "run"
    (workdir / "checkpoints").mkdir(parents=True)
    (workdir / "config.json").write_bytes((finished / "config.json").read_bytes())
    (workdir / "checkpoints" / "epoch_000001_000001.npz").write_bytes(damage)
    with pytest.raises(errors.InputError, match="epoch_000001_000001.npz"):
        train(workdir)


def test_a_missing_metrics_file_is_reported(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "metrics.csv").unlink()
    last = max((tmp_path / "run" / "checkpoints").iterdir())
    arrays = files.read_arrays(last)
    state = json.loads(arrays["state"].tobytes())
    state["schedule"]["phase"] = "epoch"
    arrays["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    files.write_arrays(last, arrays)
    with pytest.raises(errors.InputError, match="metrics.csv is missing"):
        train(tmp_path / "run")


@pytest.mark.slow
def test_the_command_line_saves_on_ctrl_c(tmp_path):
    workdir = tmp_path / "run"
    flags = ("--optimizee=simple", "--dataset=digits", f"--workdir={workdir}")
    code, text = ctrl_c.press_at("^epoch ", "l2o_tf.train", *flags)
    assert code == 130, text
    assert "interrupted: saved" in text and "Traceback" not in text
    assert list((workdir / "checkpoints").iterdir())
