"""What a run finds when it is started again, whatever happened to its directory in between."""

import contextlib
import json
import math
import pathlib
import shutil

import numpy as np
import pytest

from l2o_tf import artifacts, loading
from l2o_tf.core import errors, files
from l2o_tf.legacy import l2l
from l2o_tf.run import build, config, directory, machine, session
from tests.reliability import toy_run


@pytest.fixture(scope="module")
def parts():
    return toy_run.parts()


@pytest.fixture
def train(parts, monkeypatch):
    """Trains in a directory and returns what was told."""
    monkeypatch.setattr(build, "parts", lambda *_: parts)

    def run(workdir, **flags):
        told = []
        session.train(
            config.TrainConfig(**{**toy_run.FLAGS, **flags}, workdir=str(workdir)), told.append
        )
        return "\n".join(told)

    return run


@pytest.fixture
def finished(train, tmp_path):
    train(tmp_path / "run")
    return tmp_path / "run"


def last_checkpoint(workdir):
    return max(workdir.glob("checkpoints/epoch_*"))


def test_an_export_that_is_lost_or_stale_is_written_again(train, finished):
    whole = {name: (finished / name).read_bytes() for name in ("rule.npz", "rule.json")}
    assert b'"stage": 1' in whole["rule.json"]
    for name in whole:
        (finished / name).unlink()
        assert "is done" in train(finished)
        assert {n: (finished / n).read_bytes() for n in whole} == whole
    for name in whole:  # As if a kill had come between the stages' exports.
        shutil.copy(finished / "stages" / "stage_0" / name, finished / name)
        train(finished)
        assert {n: (finished / n).read_bytes() for n in whole} == whole


def test_an_export_of_a_plugins_rule_that_is_whole_is_left_alone(train, tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "plugin", lambda rule: {"plugin": "my_rules"})
    train(tmp_path / "run")
    card = tmp_path / "run" / "rule.json"
    before = card.stat().st_mtime_ns
    assert json.loads(card.read_text())["plugin"] == "my_rules"
    assert "is done" in train(tmp_path / "run") and card.stat().st_mtime_ns == before


def test_a_run_of_an_older_version_gets_its_lost_export_from_its_metrics(train, finished):
    whole = (finished / "rule.json").read_bytes()
    arrays = files.read_arrays(last_checkpoint(finished))
    state = json.loads(arrays["state"].tobytes())
    state = {"schedule": state["schedule"], "num_events": state["num_events"]}
    arrays["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    files.write_arrays(last_checkpoint(finished), arrays)
    (finished / "rule.json").unlink()
    train(finished)
    written, expected = json.loads((finished / "rule.json").read_bytes()), json.loads(whole)
    assert written.pop("validation_loss") == pytest.approx(expected.pop("validation_loss"), 1e-8)
    assert written == expected


def test_a_training_without_a_finite_validation_is_an_error(train, tmp_path, monkeypatch):
    never = toy_run.parts([(epoch, math.nan) for epoch in (2, 4, 6, 8, 9)])
    monkeypatch.setattr(build, "parts", lambda *_: never)
    for _ in range(2):  # Also when it is asked again.
        with pytest.raises(errors.InputError, match="none of its validations had a finite loss"):
            train(tmp_path / "run")
    assert not (tmp_path / "run" / "rule.npz").exists()


def test_a_loss_of_minus_infinity_is_no_best_one(train, tmp_path, monkeypatch):
    endless = toy_run.parts([(2, 3.0), (4, -math.inf), (6, -math.inf), (8, 5.0), (9, 5.0)])
    monkeypatch.setattr(build, "parts", lambda *_: endless)
    train(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "rule.json").read_text())["epoch"] == 2


def test_two_trainings_do_not_share_a_directory(train, finished):
    run = directory.RunDirectory(str(finished))
    with run.lock(), pytest.raises(errors.InputError, match="is in use by process [0-9]+ on "):
        train(finished)
    assert "is done" in train(finished)


def test_a_damaged_checkpoint_is_left_aside(train, finished):
    metrics = (finished / "metrics.csv").read_bytes()
    damaged = last_checkpoint(finished)
    damaged.write_bytes(damaged.read_bytes()[:100])
    told = train(finished)
    assert f"warning: cannot read arrays from {damaged}" in told and "going on from epoch" in told
    assert (finished / "metrics.csv").read_bytes() == metrics
    assert damaged.with_name(damaged.name + ".damaged").exists()


def test_damaged_checkpoints_only_are_an_error_and_stay(train, finished):
    for path in finished.glob("checkpoints/*"):
        path.write_bytes(b"")
    names = sorted(path.name for path in finished.glob("checkpoints/*"))
    with pytest.raises(errors.InputError, match="cannot read arrays from"):
        train(finished)
    assert sorted(path.name for path in finished.glob("checkpoints/*")) == names


def test_lost_checkpoints_are_an_error(train, finished):
    shutil.rmtree(finished / "checkpoints")
    metrics = (finished / "metrics.csv").read_bytes()
    with pytest.raises(errors.InputError, match="has no checkpoint, but .* has a run's events"):
        train(finished)
    assert (finished / "metrics.csv").read_bytes() == metrics


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content.replace(b",2,", b",3,", 1),
        lambda content: content.replace(b"\n2,", b"\n"),
        lambda content: b"\xff" + content,
        lambda content: b"",
    ],
)
def test_metrics_that_were_changed_are_an_error(train, finished, damage):
    path = finished / "metrics.csv"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(errors.InputError, match="metrics.csv (lacks some|has not the columns)"):
        train(finished)


def test_a_kill_while_the_first_file_was_written_leaves_a_new_directory(train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".l2o-0123456789ab.tmp").write_bytes(b"{")
    (tmp_path / "run" / ".lock").touch()
    train(tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_checkpoints_are_in_the_order_of_their_epochs(parts, tmp_path):
    run, start = directory.RunDirectory(str(tmp_path)), parts.trainer.initial_progress()
    for epoch in (999_997, 999_998, 999_999, 1_000_000):
        schedule = start.schedule.__class__(epoch=epoch)
        run.save(directory.Checkpoint(start._replace(schedule=schedule)))
    assert len(list(tmp_path.glob("checkpoints/*"))) == directory.KEPT_CHECKPOINTS
    assert run.restore(start, pytest.fail).progress.schedule.epoch == 1_000_000


def test_other_threads_are_warned_of(train, finished, monkeypatch):
    recorded = json.loads((finished / "config.json").read_text())["threads"]
    assert recorded == machine.threads() and "begun with" not in train(finished)
    monkeypatch.setattr(machine, "threads", lambda: recorded + 1)
    assert f"begun with {recorded} threads and goes on with {recorded + 1}" in train(finished)


@pytest.mark.parametrize("content", ["[]", "null", '"x"', "{", '{"seed": NaN}', "[" * 10**5])
def test_a_config_that_is_none_is_an_error(train, finished, content):
    (finished / "config.json").write_text(content)
    with pytest.raises(errors.InputError, match="config.json|other flags"):
        train(finished)


def test_every_event_is_a_checkpoint_if_wanted_and_the_first_one_always(train, tmp_path):
    saved = []
    save = directory.RunDirectory.save

    def count(self, checkpoint):
        saved.append(checkpoint.progress.num_events)
        save(self, checkpoint)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directory.RunDirectory, "save", count)
        train(tmp_path / "all")
        every = saved.copy()
        saved.clear()
        train(tmp_path / "few", checkpoint_seconds=3600.0)
    assert every == [*range(every[-1] + 1), every[-1]] and saved == [0, 1, every[-1]]


def test_what_is_told_is_in_the_log(train, finished):
    told = train(finished)
    log = (finished / "run.log").read_text()
    assert all(line in log for line in told.splitlines())
    assert "all flags:\n" in log and "--noshared_meta_optimizer" in log
    assert "validation after epoch 2" in log


def test_a_run_without_a_workdir_gets_one(parts, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "parts", lambda *_: parts)
    monkeypatch.chdir(tmp_path)
    told = []
    for _ in range(2):
        session.train(config.TrainConfig(**toy_run.FLAGS), told.append)
    made = sorted(path.name for path in pathlib.Path("runs").iterdir())
    assert len(made) == 2 and all(name.startswith("global_learning_rate-20") for name in made)
    assert told[0].startswith("--workdir=runs/global_learning_rate-20")


def test_runs_that_begin_in_the_same_second_have_different_directories(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = config.TrainConfig(**toy_run.FLAGS)
    with contextlib.ExitStack() as stack:
        placed = [stack.enter_context(directory.with_workdir(asked, print)) for _ in range(3)]
        assert len({one.workdir for one in placed}) == 3
        (pathlib.Path(placed[1].workdir) / "file").touch()
    assert [str(path) for path in pathlib.Path("runs").iterdir()] == [placed[1].workdir]
    (pathlib.Path(placed[1].workdir) / "file").unlink()
    pathlib.Path(placed[1].workdir).rmdir()
    with directory.with_workdir(asked, print):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(parts, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "parts", lambda *_: parts)
    told = []
    run_config = config.TrainConfig(**toy_run.FLAGS, dry_run=True, workdir=str(tmp_path / "run"))
    session.train(run_config, told.append)
    assert list(tmp_path.iterdir()) == []
    about, *shown = told[0].splitlines()
    assert "threads, 1 coordinates, about " in about and "GB of memory" in about
    assert "--validation_steps=40,60" in " ".join(shown) and "--seed=0" in " ".join(shown)


def test_paths_in_printed_commands_are_quoted(train, tmp_path):
    told = train(tmp_path / "my run")
    assert f"--rules='{tmp_path}/my run,tuned:adam,tuned:sgd'" in told
    assert f"tensorboard --logdir='{tmp_path}/my run'" in told


class TestInitFrom:
    """Training on from a rule that there is."""

    FLAGS = {"optimizee": ("simple",), "num_epochs": 1, "num_steps": 20, "validation_epochs": 1}

    @pytest.mark.parametrize("written", ["pretrained", "l2l", "exported"])
    def test_the_first_weights_are_those_of_the_rule(self, written, tmp_path):
        rule, source = loading.load("rnnprop"), "rnnprop"
        expected = rule.weights()
        if written == "l2l":
            source = str(tmp_path / "rp.l2l-0")
            l2l.write(source, expected)
        elif written == "exported":
            source = str(tmp_path / "rule")
            artifacts.save_rule(tmp_path / "rule", rule)
        made = build.parts(config.TrainConfig(**self.FLAGS, rule="rnnprop", init_from=source))
        for name, value in made.trainer.initial_progress().meta.weights.items():
            np.testing.assert_array_equal(value, expected[name])

    def test_another_rule_is_an_error_that_says_which(self):
        with pytest.raises(errors.InputError, match="is a rule rnnprop, not --rule=dm: say"):
            build.parts(config.TrainConfig(**self.FLAGS, init_from="rnnprop"))
        with pytest.raises(errors.InputError, match="adam:0.1 has no weights to train on"):
            build.parts(config.TrainConfig(**self.FLAGS, init_from="adam:0.1"))
        with pytest.raises(errors.InputError, match="no rule 'nothing'"):
            build.parts(config.TrainConfig(**self.FLAGS, init_from="nothing"))

    def test_a_run_keeps_a_copy_to_be_resumed_without_the_rule(
        self, finished, parts, monkeypatch, tmp_path
    ):
        used = []

        def make(run_config, replicas):
            used.append(run_config.init_from)
            return parts

        monkeypatch.setattr(build, "parts", make)
        flags = {**toy_run.FLAGS, "init_from": str(finished), "workdir": str(tmp_path / "more")}
        session.train(config.TrainConfig(**flags))
        shutil.rmtree(finished)
        session.train(config.TrainConfig(**flags))
        assert used == [str(finished), str(tmp_path / "more" / "initial")]
        loading.load(tmp_path / "more" / "initial")
