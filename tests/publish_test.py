import subprocess
import sys

import numpy as np
import pytest

from l2o_tf import artifacts, cli, publish, rules
from l2o_tf.core import errors, files
from l2o_tf.evaluation import results

METRICS = """\
event,kind,epoch,stage,num_steps,loss,last_loss,gradient_norm,skipped_meta_steps,decision
1,meta_loss,10,0,100,2.3,2.2,0.3,0,
2,validation,10,0,200,0.5,0.5,,0,new best
3,validation,20,1,500,0.25,0.25,,0,next stage
"""


@pytest.fixture
def trained(tmp_path):
    rule = rules.create("rnnprop")
    card = {"training": {"seed": 3}, "epoch": 20}
    for directory in (tmp_path / "run", tmp_path / "run" / "stages" / "stage_0"):
        artifacts.save_rule(directory, rule, card=card)
    (tmp_path / "run" / "metrics.csv").write_text(METRICS)
    for seed, loss in enumerate([0.1, 0.2, 0.4]):
        losses = np.full(1000, loss, np.float32)
        results.append(
            tmp_path / "results", results.Run("mine", "mlp", "mnist", "test", seed, losses)
        )
    return rule


@pytest.mark.parametrize("run", ["run", "run/stages/stage_0"])
def test_card_and_weights(trained, tmp_path, run):
    publish.main(
        publish.PublishConfig(
            run=str(tmp_path / run),
            results=str(tmp_path / "results"),
            label="mine",
            commit="abc",
            cpu_hours=0.5,
            out=str(tmp_path / "out"),
            fit_for="Perceptrons.",
        )
    )
    card = files.read_json(tmp_path / "out" / artifacts.RULE_CARD)
    assert card["training"] == {"seed": 3} and card["fit_for"] == "Perceptrons."
    assert (card["commit"], card["cpu_hours"], card["licence"]) == ("abc", 0.5, "MIT")
    assert [v["loss"] for v in card["validations"]] == [0.5, 0.25]
    reached = card["results"]["mlp"]
    assert (reached["dataset"], reached["split"], reached["seeds"]) == ("mnist", "test", 3)
    logs = np.log([0.1, 0.2, 0.4])
    expected = {"mean": round(logs.mean(), 3), "sd": round(logs.std(ddof=1), 3)}
    assert reached["mean_ln_loss"] == {"100": expected, "1000": expected}
    weights = artifacts.load_rule(tmp_path / "out").weights()
    for name, value in trained.weights().items():
        np.testing.assert_array_equal(weights[name], value)


def test_the_winner_of_a_selection_keeps_its_scores(trained, tmp_path):
    selected = {"score": -2.0, "num_runs": 8, "table": "table.csv"}
    artifacts.save_rule(tmp_path / "best", trained, card={"epoch": 20, "selection": selected})
    flags = {"results": str(tmp_path / "results"), "label": "mine", "commit": "abc"}
    out = tmp_path / "out"
    publish.main(publish.PublishConfig(run=str(tmp_path / "best"), out=str(out), **flags))
    card = files.read_json(out / artifacts.RULE_CARD)
    assert card["selection"] == {"score": -2.0, "num_runs": 8} and card["validations"] == []
    artifacts.save_rule(tmp_path / "best", trained, card={"epoch": 20})
    with pytest.raises(errors.InputError, match="must be the directory of a run or of select"):
        publish.main(publish.PublishConfig(run=str(tmp_path / "best"), out=str(out), **flags))


@pytest.mark.parametrize("selection", [3, None, [], "x"])
def test_a_card_with_a_damaged_selection_is_one_line(trained, tmp_path, selection):
    artifacts.save_rule(tmp_path / "best", trained, card={"selection": selection})
    flags = {"results": str(tmp_path / "results"), "label": "mine", "commit": "abc"}
    out = tmp_path / "out"
    with pytest.raises(errors.InputError) as raised:
        publish.main(publish.PublishConfig(run=str(tmp_path / "best"), out=str(out), **flags))
    where = tmp_path / "best" / "rule.json"
    assert str(raised.value) == f"{where} is damaged: its selection is no object"
    assert not out.exists()


def test_what_is_missing_is_named(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--run=run", "--results=results", "--label=other", "--out=out"]
    done = subprocess.run(
        [sys.executable, "-m", "l2o_tf.publish", *flags],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    message = "error: --commit is needed (--help says what for)\n"
    assert (done.returncode, done.stderr) == (2, message)
    monkeypatch.setattr(sys, "argv", ["publish", *flags, "--commit=abc"])
    with pytest.raises(SystemExit, match="^2$"):
        cli.run(publish.PublishConfig, publish.DESCRIPTION, publish.main)
    assert capsys.readouterr().err == "error: results holds no rule 'other'\n"


def test_validations_that_diverged_have_no_loss(trained, tmp_path):
    (tmp_path / "run" / "metrics.csv").write_text(METRICS.replace("0.25,0.25", "nan,nan"))
    flags = {
        "run": str(tmp_path / "run"),
        "results": str(tmp_path / "results"),
        "label": "mine",
        "commit": "abc",
        "out": str(tmp_path / "out"),
    }
    publish.main(publish.PublishConfig(**flags))
    card = files.read_json(tmp_path / "out" / artifacts.RULE_CARD)
    assert [v["loss"] for v in card["validations"]] == [0.5, None]
    with pytest.raises(errors.InputError, match="--cpu_hours=nan must be a number from 0"):
        publish.PublishConfig(**flags, cpu_hours=float("nan"))
