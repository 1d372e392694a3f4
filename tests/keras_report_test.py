import contextlib
import csv
import json
import re
import sys

import pytest

from l2o_tf import artifacts, cli, keras_report, rules
from l2o_tf.core import errors, flags, seeds
from l2o_tf.keras_evaluation import bench, session, tasks
from l2o_tf.keras_evaluation.config import KerasReportConfig
from l2o_tf.optimizees import keras_starts

MODULE = """
import keras, numpy as np
from l2o_tf.keras_evaluation.tasks import Task

def make_model():
    layer = keras.layers.Dense(1)
    layer.supports_jit = False  # XLA takes longer than the training.
    model = keras.Sequential([keras.Input([2]), layer])
    x = np.random.default_rng(0).normal(size=[40, 2]).astype("float32")
    y = x @ [[1.0], [-2.0]]
    return Task(model, "mse", (x[:30], y[:30]), (x[30:], y[30:]), batch_size=10, num_steps=40)

class Own(keras.Model):  # Keras cannot build it again from its configuration.
    def __init__(self, units):
        super().__init__()
        self.dense = keras.layers.Dense(int(units))
        self.dense.supports_jit = False
        self.supports_jit = False

    def call(self, x):
        return self.dense(x)

def make_own():
    task = make_model()
    return Task(Own(np.int64(1)), "mse", task.train, task.validation, 10, num_steps=2)

def make_built():
    task = make_own()
    task.model(task.train[0])
    return task

def make_nothing():
    return 3

def fail():
    return 1 / 0
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_keras_task.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def config(directory, **changes):
    given = {
        "rules": ("fast=sgd:0.3", "slow=sgd:0.01"),
        "tasks": ("my_keras_task:make_model",),
        "adam_rates": (0.001, 0.1),
        "adamw_rates": (0.01, 0.1),
        "num_seeds": 2,
        "workdir": str(directory),
    }
    return KerasReportConfig(**{**given, **changes})


def prepare():
    """What a process needs before TensorFlow: nothing here."""


def rows(workdir):
    found = csv.DictReader((workdir / "report.csv").open())
    return {row["optimizer"]: row for row in found}


def test_a_report_on_a_model_of_ones_own(module, tmp_path, capsys):
    told = []
    session.report_on(config(tmp_path / "out"), told.append, prepare, cli.show)
    found = rows(tmp_path / "out")
    assert len(told) == 13 and len(list((tmp_path / "out" / "runs").glob("*.json"))) == 12
    assert list(found) == ["fast", "slow"] + [
        f"keras {kind}" for kind in ("adam:0.001", "adam:0.1", "adamw:0.01", "adamw:0.1")
    ]
    # Least squares: after 40 steps gradient descent at this rate has arrived.
    assert float(found["fast"]["train"]) < 1e-2 < 0.5 < float(found["keras adam:0.001"]["train"])
    speed = {label: float(row["speed_up"]) for label, row in found.items()}
    assert speed["fast"] > speed["slow"] and speed["keras adamw:0.1"] <= 1
    assert found["keras adamw:0.1"]["calibrated"] == "1"
    assert "fast" in capsys.readouterr().out

    # What is there is not trained again, but read: also with other rules and seeds.
    (kept,) = (tmp_path / "out" / "runs").glob("*-slow-0.json")
    content = json.loads(kept.read_text())
    content["run"]["losses"][-1] = content["run"]["losses"][-2] = 1e-9
    kept.write_text(json.dumps(content))
    told.clear()
    session.report_on(config(tmp_path / "out", num_seeds=1), told.append, prepare)
    assert len(told) == 1 and float(rows(tmp_path / "out")["slow"]["train"]) == pytest.approx(1e-9)

    with pytest.raises(errors.InputError, match="another optimizer: give the rule another name"):
        session.report_on(config(tmp_path / "out", rules=("fast=sgd:0.2",)), told.append, prepare)
    with pytest.raises(errors.InputError, match="of another decay"):
        session.report_on(config(tmp_path / "out", decay="rules"), told.append, prepare)


def test_trainings_of_a_task_that_was_edited_are_not_mixed(module, tmp_path, monkeypatch):
    given = {"num_seeds": 1, "adam_rates": (0.1,), "adamw_rates": (0.1,)}
    session.report_on(config(tmp_path / "out", **given), lambda line: None, prepare)
    kept = {path: path.read_text() for path in (tmp_path / "out" / "runs").glob("*.json")}

    def go_on():
        more = config(tmp_path / "out", rules=("new=sgd:0.2", "fast=sgd:0.3"), **given)
        session.report_on(more, lambda line: None, prepare)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for edit, name in ((("=40", "=60"), "num_steps"), (("-2.0", "2.0"), "data")):
        monkeypatch.delitem(sys.modules, "my_keras_task")
        (tmp_path / "my_keras_task.py").write_text(MODULE.replace(*edit))
        with pytest.raises(errors.InputError, match=f"of another {name}: use another --workdir"):
            go_on()
        assert {path: path.read_text() for path in (tmp_path / "out").glob("runs/*")} == kept
    monkeypatch.delitem(sys.modules, "my_keras_task")
    (tmp_path / "my_keras_task.py").write_text(MODULE)
    go_on()
    assert len(list((tmp_path / "out" / "runs").glob("*.json"))) == len(kept) + 1
    # What an older version wrote says less.
    for path in kept:
        content = json.loads(path.read_text())
        content["identity"] = {
            name: content["identity"][name] for name in ("optimizer", "decay", "num_steps_scale")
        }
        path.write_text(json.dumps(content))
    with pytest.raises(errors.InputError, match="does not say of which num_steps it is"):
        go_on()


@pytest.mark.parametrize("function", ["make_own", "make_built"])
def test_a_model_that_keras_cannot_build_again_starts_from_the_seed(module, tmp_path, function):
    name = f"my_keras_task:{function}"
    here = bench.Workbench(config(tmp_path / "out"))

    def start(label, seed):
        return here.measure(bench.Wanted(name, label, seed)).losses[0]

    assert start("fast", 0) == start("keras adam:0.1", 0) != start("fast", 1)
    with pytest.raises(errors.InputError):
        keras_starts.draws_of(tasks.create(name).model)


@pytest.mark.slow
def test_processes_side_by_side_give_the_same_report(module, tmp_path):
    told = []
    for jobs in (1, 2):
        out = config(tmp_path / f"{jobs}", jobs=jobs, adam_rates=(0.1,), adamw_rates=(0.1,))
        session.report_on(out, told.append, prepare)
    one, two = (rows(tmp_path / f"{jobs}") for jobs in (1, 2))
    assert list(one) == list(two)
    for label in one:
        for name in ("train", "validation", "speed_up"):
            assert float(two[label][name]) == pytest.approx(float(one[label][name]), rel=1e-4)
    assert [line.split()[-3:] for line in told[:8]] == [[f"({n}", "of", "8)"] for n in range(1, 9)]


@pytest.mark.parametrize("becomes", ["another rule", "damaged", "the same"])
def test_processes_refuse_a_rule_that_is_replaced_meanwhile(module, tmp_path, monkeypatch, becomes):
    def save(seed):
        rule = rules.create_learned("mlp", seeds.make_seed(seed, "rule"))
        artifacts.save_rule(tmp_path / "mine", rule)

    @contextlib.contextmanager
    def here(jobs, recipe, prepare):
        if becomes == "another rule":  # By a training, after the report has read it.
            save(seed=1)
        elif becomes == "damaged":
            (tmp_path / "mine" / "rule.json").write_text("{")
        try:
            of_process = bench.Bench(recipe[1])
        except errors.InputError:
            pytest.fail("a process that cannot start ends all others, and nobody reads why")
        monkeypatch.setattr(bench.training, "train", lambda *args: ran)
        yield lambda wanted: ((one, of_process.measure(one)) for one in wanted)

    save(seed=0)
    ran = bench.training.Run([1.0, 0.5], None, 0.5, 2, 1.0, 1.0, 1.0, 0)
    monkeypatch.setattr(session.pool, "open", here)
    given = {"rules": (str(tmp_path / "mine"),), "adam_rates": (0.1,), "adamw_rates": (0.1,)}
    given = config(tmp_path / "out", num_seeds=1, jobs=2, **given)
    if becomes == "the same":
        session.report_on(given, lambda line: None, prepare)
        assert len(list(tmp_path.glob("out/runs/*.json"))) == 3
        return
    with pytest.raises(errors.InputError) as raised:
        session.report_on(given, lambda line: None, prepare)
    assert not list(tmp_path.glob("out/runs/*.json"))
    if becomes == "damaged":
        assert "rule.json" in str(raised.value)
    else:
        assert str(raised.value) == (
            "mine has become another rule (or has other weights) since this report began; what "
            "was measured is kept: write newname=RULE or use another --workdir"
        )


@pytest.mark.slow
def test_a_cosine_makes_the_last_steps_small(module, tmp_path):
    def curve(decay, rate="1e-4"):
        out = tmp_path / f"{decay}{rate}"
        given = config(out, rules=(f"fast=sgd:{rate}",), decay=decay, num_seeds=1)
        session.report_on(given, lambda line: None, prepare)
        return float(rows(out)["fast"]["train"])

    # At steps so small the loss falls in proportion to the sum of the rates, of which a cosine
    # leaves a half.
    start = curve("rules", rate="1e-9")
    fell = {decay: start - curve(decay) for decay in ("none", "rules")}
    assert fell["rules"] == pytest.approx(fell["none"] / 2, rel=0.1)


@pytest.mark.slow
def test_a_scale_shortens_all_tasks_and_digits_need_no_download(tmp_path):
    given = config(
        tmp_path / "out",
        rules=("rnnprop_cl_il",),
        tasks=("digits_convnet",),
        adam_rates=(0.001,),
        adamw_rates=(0.001,),
        num_seeds=1,
        num_steps_scale=0.02,
    )
    session.report_on(given, lambda line: None, prepare)
    (path,) = (tmp_path / "out" / "runs").glob("digits_convnet-rnnprop_cl_il-0.json")
    assert len(json.loads(path.read_text())["run"]["losses"]) == 8
    assert rows(tmp_path / "out")["rnnprop_cl_il"]["bytes_per_parameter"] == "328"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"tasks": ("nothing",)}, "unknown Keras task 'nothing'; known: mnist_convnet"),
        ({"tasks": ("my_keras_task:nothing",)}, "define nothing\\(\\) that returns a Task"),
        ({"tasks": ("my_keras_task:make_nothing",)}, "returns a int: return an l2o_tf.keras"),
        ({"tasks": ("my_keras_task:fail",)}, "cannot be made: ZeroDivisionError"),
        ({"rules": ("tuned:adam",)}, "tunes Adam anyway"),
        ({"rules": ("keras adam:0.1=sgd",)}, "two optimizers are named keras adam:0.1"),
        ({"rules": ("none",)}, "no rule 'none'"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(module, tmp_path, changes, message):
    with pytest.raises(errors.InputError, match=message):
        session.report_on(config(tmp_path / "out", **changes), lambda line: None, prepare)
    assert not list(tmp_path.glob("out/runs/*"))


@pytest.mark.parametrize(
    "changes",
    [
        {"rules": ()},
        {"workdir": ""},
        {"tasks": ()},
        {"adam_rates": (0.1, 0.1)},
        {"adamw_rates": (-1.0,)},
        {"decay": "cosine"},
        {"num_steps_scale": 0.0},
        {"num_seeds": 0},
        {"seed": -1},
        {"jobs": 0},
    ],
)
def test_wrong_flags_are_named(changes):
    (name,) = changes
    with pytest.raises(errors.InputError, match=f"--{name}"):
        config("out", **changes)


def test_the_command_to_go_on_with_has_all_flags(module, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.training, "train", interrupt)
    given = config(tmp_path / "out")
    with pytest.raises(errors.Interrupted, match=re.escape(flags.to_flags(given))):
        session.report_on(given, lambda line: None, prepare)
    assert "l2o_tf.keras_report" in keras_report.DESCRIPTION
