"""python -m l2o_tf.evaluate from its flags to its files."""

import csv
import json
import pathlib
import re
import shutil
import sys
import textwrap

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import artifacts, cli, evaluate, optimizees, rules
from l2o_tf.core import errors, seeds
from l2o_tf.data import datasets
from l2o_tf.evaluation import report, results, runner, session, statistics, tasks, tuning, workbench
from l2o_tf.evaluation.config import EvaluateConfig
from tests import ctrl_c, reference

FLAGS = {
    "rules": ("adam:0.01", "fast=adam:0.1", "sgd:1"),
    "optimizees": ("simple", "mlp"),
    "dataset": "digits",
    "num_steps": 120,
    "num_seeds": 2,
}
NUM_RUNS = 3 * 2 * 2


def run(workdir, **flags):
    flags = {"tuned_dir": str(workdir) + "_tuned", **FLAGS, **flags}
    try:
        session.evaluate(EvaluateConfig(**flags, workdir=str(workdir)), cli.say, show=cli.show)
    except errors.Interrupted as interrupt:
        cli.say(f"\ninterrupted: {interrupt}")
        return 130
    return 0


def interrupt_after(monkeypatch, num_runs):
    original, count = runner.Runner.run, iter(range(num_runs))

    def interrupted(self, *args):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(runner.Runner, "run", interrupted)


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """Evaluations on an optimizee of the package share its runner, which takes long to compile."""
    runners, original = {}, workbench.Workbench.runner

    def shared(self, optimizee):
        if ":" in optimizee:
            return original(self, optimizee)
        task = self.task(optimizee)._replace(num_steps=0)
        if task not in runners:
            runners[task] = runner.Runner(self.create(optimizee))
        return runners[task]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench.Workbench, "runner", shared)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "results"
    assert run(workdir) == 0
    return workdir


def test_an_evaluation_leaves_its_files(finished):
    assert {path.name for path in finished.iterdir()} == {
        "config.json",
        "runs",
        "losses.npz",
        "results.csv",
        "table.txt",
        "tensorboard",
        "simple.png",
        "mlp.png",
        ".lock",
    }
    with np.load(finished / "losses.npz") as arrays:
        assert len(arrays.files) == NUM_RUNS
        assert {"fast|mlp|0", "sgd:1|simple|1"} < set(arrays.files)
        for name in arrays.files:
            assert arrays[name].dtype == np.float32 and arrays[name].shape == (120,)
    for name in ("simple.png", "mlp.png"):
        assert matplotlib.image.imread(finished / name)[..., :3].std() > 0.01
    record = json.loads((finished / "config.json").read_text())
    assert record.pop("rules").keys() == {"adam:0.01", "fast", "sgd:1"}
    assert record == {
        "optimizee_options": {},
        "dataset": "digits",
        "split": "test",
        "num_steps": 120,
        "deterministic": False,
        "tf32": False,
    }


def test_progress_counts_a_loss_of_zero_as_the_table_does():
    losses = np.array([1.0] * 18 + [0.0, 1.0], np.float32)
    run = results.Run("adam:0.1", "mlp", "digits", "test", 0, losses)
    mean = np.log(statistics.ZERO_LOSS) / 2
    assert report.outcome(run) == f"ln loss {mean:.3f} over the last tenth"


def test_the_losses_are_those_of_the_runner(finished):
    runs = {stored.key: stored.losses for stored in results.load(finished)}
    optimizee = optimizees.create("mlp", datasets.load("digits", "test"))
    expected = runner.Runner(optimizee).run(
        rules.from_spec("adam:0.1"), seeds.make_seed(1, "evaluation"), 120
    )
    np.testing.assert_array_equal(runs["fast|mlp|1"], expected)
    assert np.all(runs["fast|mlp|0"] != expected)
    assert np.all(runs["sgd:1|simple|0"] == 1)  # x flips its sign forever.


def test_csv_and_table_say_the_same(finished):
    with (finished / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == NUM_RUNS
    assert {(row["dataset"], row["split"]) for row in rows} == {("digits", "test"), ("", "")}
    fast = [float(r["loss_100"]) for r in rows if (r["rule"], r["optimizee"]) == ("fast", "mlp")]
    logs = np.log(fast)
    line = next(
        line
        for line in (finished / "table.txt").read_text().splitlines()
        if line.split()[:2] == ["mlp", "fast"]
    )
    assert line.split()[2:7] == ["2", "0", f"{logs.mean():.2f}", "±", f"{logs.std(ddof=1):.2f}"]


def test_tensorboard_has_the_mean_curve_of_every_rule(finished):
    folders = {p.parent.relative_to(finished) for p in finished.rglob("events.out.tfevents.*")}
    assert folders == {
        pathlib.Path("tensorboard", rule, optimizee)
        for rule in ("adam_0.01", "fast", "sgd_1")
        for optimizee in ("simple", "mlp")
    }
    (path,) = (finished / "tensorboard" / "fast" / "mlp").iterdir()
    events = [e for e in tf.compat.v1.train.summary_iterator(str(path)) if e.summary.value]
    assert [(e.step, e.summary.value[0].tag) for e in events] == [(100, "ln_loss")]
    losses = [r.losses for r in results.load(finished) if r.key in ("fast|mlp|0", "fast|mlp|1")]
    expected = np.mean([statistics.mean_of_log(row) for row in losses])
    assert tf.make_ndarray(events[0].summary.value[0].tensor) == pytest.approx(expected)


@pytest.mark.parametrize("num_runs", [0, pytest.param(7, marks=pytest.mark.slow)])
def test_an_interrupted_evaluation_goes_on_to_the_same_bytes(
    finished, tmp_path, monkeypatch, capsys, num_runs
):
    workdir = tmp_path / "results"
    with monkeypatch.context() as patch:
        interrupt_after(patch, num_runs)
        assert run(workdir) == 130
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("interrupted: what is done is kept. To go on: python -m l2o_tf.eval")
    flags = message.partition("l2o_tf.evaluate ")[2].split()
    assert len(list(workdir.glob("runs/*"))) == num_runs
    session.evaluate(cli.parse(EvaluateConfig, ["evaluate", *flags]), cli.say)
    assert capsys.readouterr().err.count(" over the last tenth") == NUM_RUNS - num_runs
    for name in ("losses.npz", "results.csv", "table.txt"):
        assert (workdir / name).read_bytes() == (finished / name).read_bytes()


def test_a_finished_evaluation_runs_nothing(tmp_path, monkeypatch):
    workdir, flags = tmp_path / "results", {"rules": ("sgd:0.1",), "optimizees": ("simple",)}
    run(workdir, **flags)
    interrupt_after(monkeypatch, 0)
    assert run(workdir, **flags) == 0


@pytest.mark.slow
def test_seeds_rules_and_optimizees_can_be_added(finished, tmp_path):
    workdir = tmp_path / "results"
    run(workdir, num_seeds=1, rules=("fast=adam:0.1",), optimizees=("mlp",))
    run(workdir, num_seeds=1, seed=1, rules=("fast=adam:0.1",), optimizees=("mlp",))
    assert [r.seed for r in results.load(workdir)] == [0, 1]
    assert json.loads((workdir / "config.json").read_text())["rules"].keys() == {"fast"}
    run(workdir)
    assert (workdir / "losses.npz").read_bytes() == (finished / "losses.npz").read_bytes()
    run(workdir, num_seeds=1, seed=7, rules=("fast=adam:0.1",), optimizees=("simple",))
    assert {r.key for r in results.load(workdir)} >= {"fast|simple|7", "sgd:1|mlp|1"}


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"num_steps": 60}, "with --num_steps=120, not 60: use another --workdir"),
        ({"split": "train"}, "with --split=test, not train: use another --workdir"),
        ({"dataset": None}, "with --dataset=digits, not None: use another --workdir"),
        ({"rules": ("fast=adam:0.2",)}, "another rule (or other weights) named fast: "),
        ({"rules": ("fast=tuned:adam",)}, "another rule (or other weights) named fast: "),
        ({"rules": ("adam:0.01=sgd:0.01",)}, "another rule (or other weights) named adam:0.01: "),
    ],
)
def test_results_that_do_not_belong_together_are_refused(finished, flags, message):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(errors.InputError) as raised:
        run(finished, **flags)
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}


@pytest.mark.parametrize("content", ["[]", '{"dataset": "mnist", "num_steps": 100}', "{"])
def test_a_directory_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(errors.InputError) as raised:
        run(tmp_path)
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_retrained_rule_is_not_mixed_with_its_old_runs(tmp_path):
    def export(seed):
        rule = rules.create_learned("dm", seeds.make_seed(seed, "rule"))
        artifacts.save_rule(tmp_path / "dm", rule, rule.weights(), {})

    flags = {"rules": (str(tmp_path / "dm"),), "optimizees": ("simple",), "num_seeds": 1}
    export(0)
    assert run(tmp_path / "results", **flags) == 0
    assert [r.key for r in results.load(tmp_path / "results")] == ["dm|simple|0"]
    assert run(tmp_path / "results", **flags) == 0
    export(1)
    with pytest.raises(errors.InputError, match=r"\(or other weights\) named dm: "):
        run(tmp_path / "results", **flags)


def test_options_of_optimizees_are_recorded_and_not_mixed(tmp_path, capsys):
    workdir, flags = tmp_path / "results", {"rules": ("tuned:sgd",), "optimizees": ("quadratic",)}
    flags |= {"num_seeds": 1, "num_steps": 50, "optimizee_options": '{"num_dims": 3}'}
    options = '{"num_dims":3}'
    task = tasks.Task("quadratic", "", "", 50, options)
    cache = tuning.Cache(str(workdir) + "_tuned")
    cache.add("sgd", task, tuning.Record(0.01, 2, {0.01: -1.0}))
    assert run(workdir, **flags) == 0
    assert 'quadratic with {"num_dims": 3}' in capsys.readouterr().err
    found = results.load(workdir)[0]
    on = runner.Runner(optimizees.create("quadratic", num_dims=3))
    expected = on.run(rules.from_spec("sgd:0.01"), seeds.make_seed(0, "evaluation"), 50)
    np.testing.assert_array_equal(found.losses, expected)
    record = json.loads((workdir / "config.json").read_text())
    assert record["optimizee_options"] == {"num_dims": 3}
    (tuned,) = (tmp_path / "results_tuned").glob("*.json")
    assert json.loads(tuned.read_text())["options"] == options
    message = r'with --optimizee_options=\{"num_dims": 3\}, not \{\}: use another --workdir'
    with pytest.raises(errors.InputError, match=message):
        run(workdir, **{**flags, "optimizee_options": ""})
    del record["optimizee_options"]  # As older versions wrote it.
    (workdir / "config.json").write_text(json.dumps(record))
    with pytest.raises(errors.InputError, match=r"with --optimizee_options=\{\}, not"):
        run(workdir, **flags)


def test_a_label_does_not_mix_tuned_rates(tmp_path, capsys):
    flags = {"rules": ("tuned:sgd",), "optimizees": ("simple",), "num_seeds": 1, "num_steps": 50}
    flags["tuned_dir"] = str(tmp_path / "tuned")
    cache, task = tuning.Cache(flags["tuned_dir"]), tasks.Task("simple", "", "", 50)
    cache.add("sgd", task, tuning.Record(0.1, 2, {0.1: -1.0}))
    assert run(tmp_path / "results", **flags) == 0
    assert results.load(tmp_path / "results")[0].learning_rate == 0.1
    assert "tuned:sgd (rate 0.1)" in capsys.readouterr().out
    cache.add("sgd", task, tuning.Record(0.2, 2, {0.2: -2.0}))
    with pytest.raises(
        errors.InputError, match="tuned:sgd on simple with the learning rate 0.1, b"
    ):
        run(tmp_path / "results", **{**flags, "num_seeds": 2})
    # Without the cache, what is there goes on with its rate.
    shutil.rmtree(tmp_path / "tuned")
    assert run(tmp_path / "results", **{**flags, "num_seeds": 2}) == 0
    assert [r.learning_rate for r in results.load(tmp_path / "results")] == [0.1, 0.1]
    results_csv = (tmp_path / "results" / "results.csv").read_text().splitlines()
    assert results_csv[0].endswith(",learning_rate") and results_csv[1].endswith(",0.1")
    shutil.rmtree(tmp_path / "results" / "runs")
    assert [r.learning_rate for r in results.load(tmp_path / "results")] == [0.1, 0.1]


def test_a_better_rate_that_is_found_meanwhile_is_for_the_next_evaluation(tmp_path, monkeypatch):
    flags = {"rules": ("tuned:sgd",), "optimizees": ("simple",), "num_seeds": 3, "num_steps": 50}
    flags["tuned_dir"] = str(tmp_path / "tuned")
    cache, task = tuning.Cache(flags["tuned_dir"]), tasks.Task("simple", "", "", 50)
    cache.add("sgd", task, tuning.Record(0.1, 2, {0.1: -1.0}))
    append = results.append

    def append_and_tune(directory, stored):
        cache.add("sgd", task, tuning.Record(0.2, 2, {0.2: -2.0}))
        append(directory, stored)

    monkeypatch.setattr(results, "append", append_and_tune)
    assert run(tmp_path / "results", **flags) == 0
    assert [r.learning_rate for r in results.load(tmp_path / "results")] == [0.1] * 3


def test_rates_that_are_mixed_already_are_refused_also_without_their_tuning(tmp_path):
    losses = np.full(50, 0.5, np.float32)
    for seed, rate in enumerate((0.1, 0.3)):
        stored = results.Run("tuned:sgd", "simple", "", "", seed, losses, rate)
        results.append(tmp_path / "results", stored)
    flags = {"rules": ("tuned:sgd",), "optimizees": ("simple",), "num_seeds": 3, "num_steps": 50}
    with pytest.raises(errors.InputError, match="the learning rate 0.1 and 0.3: write newname=tu"):
        run(tmp_path / "results", **flags)


def test_an_evaluation_interrupted_between_its_summaries_goes_on(finished, tmp_path):
    workdir = tmp_path / "results"
    shutil.copytree(finished, workdir)
    (workdir / "results.csv").unlink()
    (workdir / "losses.npz").write_bytes(b"")
    assert run(workdir) == 0
    for name in ("losses.npz", "results.csv", "table.txt"):
        assert (workdir / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("label", ["../../escaped", "/abs"])
def test_results_from_elsewhere_do_not_name_paths(tmp_path, label):
    workdir, victim = tmp_path / "a" / "results", tmp_path / "escaped"
    victim.mkdir()
    (victim / "events.out.tfevents.1").write_text("mine")
    losses = np.ones(120, np.float32)
    results.append(workdir, results.Run("x", "simple", "", "", 0, losses))
    (path,) = (workdir / "runs").iterdir()
    np.savez(path, rule="x", optimizee=label, dataset="", split="", seed=0, losses=losses)
    with pytest.raises(errors.InputError, match="it is no file name"):
        run(workdir, optimizees=("simple",), num_seeds=1)
    assert [p.read_text() for p in victim.iterdir()] == ["mine"]


def test_rules_of_any_label_have_a_folder_of_their_own(tmp_path):
    flags = {"optimizees": ("simple",), "num_seeds": 1}
    labels = ["..", "a/b", "a_b", "a b"]
    run(tmp_path / "results", rules=tuple(f"{label}=sgd:0.1" for label in labels), **flags)
    folders = {
        p.parent.relative_to(tmp_path / "results" / "tensorboard").as_posix()
        for p in tmp_path.rglob("events.out.tfevents.*")
    }
    assert folders == {"_/simple", "a_b/simple", "a_b_2/simple", "a_b_3/simple"}


def test_evaluations_in_one_directory_share_the_work(tmp_path, monkeypatch, capsys):
    original, workdir = runner.Runner.run, tmp_path / "results"
    flags = {"rules": ("sgd:0.1",), "optimizees": ("simple",), "num_seeds": 3}
    other = results.Run("sgd:0.1", "simple", "", "", 1, np.ones(120, np.float32))

    def meanwhile(self, *args):
        results.append(workdir, other)
        return original(self, *args)

    monkeypatch.setattr(runner.Runner, "run", meanwhile)
    assert run(workdir, **flags) == 0
    assert capsys.readouterr().err.count(" over the last tenth") == 2
    stored = {r.seed: r.losses for r in results.load(workdir)}
    assert stored.keys() == {0, 1, 2} and (stored[1] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("num_shards", [2, 5])
def test_shards_leave_the_files_of_one_evaluation(finished, tmp_path, capsys, num_shards):
    workdir, count = tmp_path / "results", 0
    for i in range(num_shards, 0, -1):
        assert run(workdir, shard=f"{i}/{num_shards}") == 0
        new = len(list(workdir.glob("runs/*"))) - count
        assert abs(new - NUM_RUNS / num_shards) < 1
        count += new
        left = f"{NUM_RUNS - count} runs of others are missing" in capsys.readouterr().err
        assert left == (count < NUM_RUNS)
        assert (workdir / "results.csv").exists() == (count == NUM_RUNS)
    same_files(workdir, finished)


def test_shards_that_were_copied_together_are_merged_by_an_evaluation_of_nothing(
    finished, tmp_path, monkeypatch
):
    shutil.copytree(finished / "runs", tmp_path / "results" / "runs")
    shutil.copy(finished / "config.json", tmp_path / "results")
    interrupt_after(monkeypatch, 0)
    assert run(tmp_path / "results") == 0
    same_files(tmp_path / "results", finished)


def same_files(workdir, expected):
    names = {path.relative_to(expected) for path in expected.rglob("*") if path.is_file()}
    names = {name for name in names if "tfevents" not in name.name}
    found = {path.relative_to(workdir) for path in workdir.rglob("*") if path.is_file()}
    assert {name for name in found if "tfevents" not in name.name} == names
    for name in names - {pathlib.Path(".lock")}:
        assert (workdir / name).read_bytes() == (expected / name).read_bytes(), name


@pytest.mark.slow
def test_processes_side_by_side_leave_the_files_of_one(finished, tmp_path, capsys):
    # A process has its share of the threads, which the last bits depend on.
    flags = {"optimizees": ("simple",), "num_steps": 120}
    assert run(tmp_path / "one", **flags) == 0
    assert run(tmp_path / "two", **flags, jobs=2) == 0
    told = capsys.readouterr().err
    assert "6 runs of 120 steps on simple; CPU, 2 at a time\n" in told
    assert re.search(r" over the last tenth \(5 of 6 runs, about \d+ s left\)\n", told)
    same_files(tmp_path / "two", tmp_path / "one")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/2/3"])
def test_a_shard_that_there_is_not_is_refused(tmp_path, shard):
    with pytest.raises(errors.InputError, match=f"--shard={shard} must be i/n"):
        run(tmp_path / "results", shard=shard)


def test_divergence_is_a_result(tmp_path, capsys):
    flags = {"rules": ("sgd:1e30", "sgd:0.1"), "optimizees": ("simple",)}
    assert run(tmp_path / "results", **flags) == 0
    with (tmp_path / "results" / "results.csv").open() as file:
        rows = {(row["rule"], row["seed"]): row for row in csv.DictReader(file)}
    # x_1 = 1 - 2e30, whose square is beyond float32.
    assert rows["sgd:1e30", "0"]["diverged_at"] == "1"
    assert rows["sgd:0.1", "0"]["diverged_at"] == ""
    assert "sgd:1e30 on simple, seed 1: diverged at step 1\n" in capsys.readouterr().err
    table = (tmp_path / "results" / "table.txt").read_text()
    assert "diverged: sgd:1e30 on simple, seed 0, at step 1\n" in table
    assert matplotlib.image.imread(tmp_path / "results" / "simple.png").std() > 0.01


@pytest.mark.slow
def test_first_learning_rates_are_drawn_from_the_range_asked_for(tmp_path):
    options = {"level_sizes": (3,), "learnable_rnn_init": False}
    exported = rules.create("scale", seeds.make_seed(1, "rule"), **options)
    artifacts.save_rule(tmp_path / "exported", exported)
    flags = {"optimizees": ("simple",), "num_seeds": 1, "num_steps": 10}
    flags["rules"] = (f"ours={tmp_path / 'exported'}", "adam:0.01")
    run(tmp_path / "results", **flags, init_lr_range=(0.1, 0.2))
    losses = {r.rule: r.losses for r in results.load(tmp_path / "results")}
    on = runner.Runner(optimizees.create("simple"))
    seed = seeds.make_seed(0, "evaluation")
    for lr_range, equal in (((0.1, 0.2), True), (exported.settings.init_lr_range, False)):
        rule = rules.create("scale", **options, init_lr_range=lr_range)
        rule.assign(exported.weights())
        assert np.allclose(on.run(rule, seed, 10), losses["ours"], rtol=1e-6) == equal
    adam = on.run(rules.create("adam", learning_rate=0.01), seed, 10)
    np.testing.assert_allclose(losses["adam:0.01"], adam, rtol=1e-6)
    with pytest.raises(errors.InputError, match="another rule .* named ours"):
        run(tmp_path / "results", **flags)
    with pytest.raises(errors.InputError, match="two positive numbers"):
        run(tmp_path / "results", **flags, init_lr_range=(0.0, 0.2))


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"rules": ("foo",)}, "no rule 'foo': expected a run directory, "),
        ({"rules": ("adam:fast",)}, "'adam:fast' is not a rule: expected name:learning_rate"),
        ({"rules": ("adam:-1",)}, "a learning rate must be positive, got -1.0"),
        ({"rules": ("tuned:dm",)}, "'dm' cannot be tuned; rules that can: sgd, "),
        ({"rules": ("sgd:0.1", "sgd:0.1")}, "--rules has two entries of the name sgd:0.1: "),
        ({"rules": ("a=sgd:0.1", "a=adam:0.1")}, "--rules has two entries of the name a: "),
        ({"rules": ("a|b=sgd:0.1",)}, "rule label 'a|b' cannot be stored: "),
        ({"rules": ("=sgd:0.1",)}, "rule label '' cannot be stored: "),
        ({"rules": ()}, "--rules=A,B is needed"),
        ({"optimizees": ("mlp", "foo")}, "unknown optimizee 'foo'; known: "),
        ({"optimizees": ("mlp", "mlp")}, "--optimizees names one twice"),
        ({"optimizees": ("no_such_module:make",)}, "optimizee 'no_such_module:make': cannot imp"),
        ({"dataset": "no_such_dataset"}, "data set 'no_such_dataset' is not available"),
        ({"split": "valid"}, "--split=valid must be one of train, validation, test"),
        ({"split": ""}, "--split= must be one of train, validation, test"),
        ({"init_lr_range": (0.1, 0.1)}, "--init_lr_range is for the rules scale and coord"),
        ({"num_seeds": 0}, "--num_seeds=0 must be at least 1"),
        ({"num_steps": 10**9}, "--num_steps=1000000000 must be at most 100000000"),
        ({"seed": 2**31}, "--seed=2147483648 must be from -2147483648 to 2147483646"),
        ({"seed": -(2**31) - 1}, "--seed=-2147483649 must be from -2147483648 to "),
        ({"rules": ("a" * 200 + "=sgd:0.1",)}, "labels of aaaa"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, flags, message):
    with pytest.raises(errors.InputError) as raised:
        run(tmp_path / "results", **{"optimizees": ("mlp",), **flags})
    assert str(raised.value).startswith(message) and "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_workdir_that_cannot_be_written_is_found_out_before_the_first_run(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    interrupt_after(monkeypatch, 0)
    with pytest.raises(errors.InputError, match="^cannot lock .*Not a directory"):
        run(tmp_path / "file" / "results")


def test_a_path_with_an_equals_sign_is_a_path(tmp_path):
    rule = rules.create_learned("dm", seeds.make_seed(0, "rule"))
    artifacts.save_rule(tmp_path / "lr=1", rule, rule.weights(), {})
    flags = {"optimizees": ("simple",), "num_seeds": 1}
    assert run(tmp_path / "results", rules=(str(tmp_path / "lr=1"),), **flags) == 0
    assert [r.key for r in results.load(tmp_path / "results")] == ["lr=1|simple|0"]


@pytest.mark.slow
def test_the_command_line_stops_on_ctrl_c(tmp_path):
    code, text = ctrl_c.press_at(
        "seed 2",
        "l2o_tf.evaluate",
        "--rules=adam:0.01",
        "--optimizees=simple",
        "--num_steps=100",
        "--num_seeds=1000000",
        f"--workdir={tmp_path / 'results'}",
    )
    assert code == 130, text
    assert "\ninterrupted: what is done is kept. To go on: " in text and "Traceback" not in text
    assert len(results.done(tmp_path / "results")) >= 3


KERAS_MODULE = """
    import keras
    from l2o_tf.optimizees import keras_model

    def make(dataset):
        model = keras.Sequential([
            keras.Input(dataset.image_shape),
            keras.layers.Conv2D(4, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(dataset.num_classes),
        ])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return keras_model.KerasModel(model, loss, dataset, batch_size=64)

    def nothing(dataset):
        pass

    number = 3
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder of the user's modules."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "my_keras_models.py").write_text(textwrap.dedent(KERAS_MODULE))
    (folder / "my_broken_module.py").write_text("import no_such_package\n")
    (folder / "my_raising_module.py").write_text("raise RuntimeError('two\\nlines')\n")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in ("my_keras_models", "my_broken_module", "my_raising_module"):
        sys.modules.pop(name, None)


def test_any_keras_model_is_an_optimizee(modules, tmp_path):
    workdir, names = tmp_path / "results", ("my_keras_models:make",)
    assert run(workdir, rules=("adam:0.01",), optimizees=names, num_seeds=1) == 0
    (stored,) = results.load(workdir)
    assert stored.key == "adam:0.01|my_keras_models.make|0" and stored.dataset == "digits"
    assert stored.losses[0] > 2 and stored.losses[-20:].mean() < 0.5
    assert (workdir / "my_keras_models.make.png").exists()
    assert list((workdir / "tensorboard" / "adam_0.01" / "my_keras_models.make").iterdir())
    assert "my_keras_models.make" in (workdir / "table.txt").read_text()


def test_the_authors_rule_trains_a_keras_model(modules, tmp_path):
    rule = f"dm_cl_il={next(reference.path('legacy/dm_cl_il').glob('*.l2l-0'))}"
    workdir, names = tmp_path / "results", ("my_keras_models:make",)
    assert run(workdir, rules=(rule,), optimizees=names, num_seeds=1, num_steps=100) == 0
    (stored,) = results.load(workdir)
    assert stored.losses[0] > 2 and stored.losses[-20:].mean() < 0.5


@pytest.mark.parametrize(
    "name, message",
    [
        ("my_keras_models:no", "my_keras_models has no function 'no'; define no(dataset) that"),
        ("my_keras_models:number", "my_keras_models has no function 'number'; define number(data"),
        ("my_keras_models:", "is not of the form module:function, such as my_module:make"),
        (":make", "is not of the form module:function"),
        ("../my_keras_models:make", "is not of the form module:function"),
        ("my_keras_models:a.b", "is not of the form module:function"),
        ("my_broken_module:make", "my_broken_module (ModuleNotFoundError: No module named 'no_su"),
        ("my_raising_module:make", "(RuntimeError: two lines)"),
        ("my_keras_models:nothing", "my_keras_models:nothing returns a NoneType: return an l2o_t"),
    ],
)
def test_what_is_wrong_with_ones_own_optimizee_is_one_line(modules, tmp_path, name, message):
    with pytest.raises(errors.InputError) as raised:
        run(tmp_path / "results", optimizees=(name,))
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "results").exists()


def test_ones_own_optimizee_has_to_take_the_arguments(modules):
    dataset = datasets.load("digits", "test")
    with pytest.raises(errors.InputError) as raised:
        optimizees.create("my_keras_models:make", dataset, batch_size=3)
    assert str(raised.value) == (
        "optimizee 'my_keras_models:make' cannot be called with (dataset, batch_size=...): got an "
        "unexpected keyword argument 'batch_size'"
    )


def test_the_command_line_is_the_session(tmp_path, capsys):
    argv = ["evaluate", "--rules=a=sgd:0.1", "--optimizees=simple", "--num_steps=10"]
    config = cli.parse(EvaluateConfig, [*argv, "--num_seeds=1", f"--workdir={tmp_path}"])
    evaluate.main(config)
    captured = capsys.readouterr().out
    assert f"curves: {tmp_path / 'simple.png'}\n" in captured
    np.testing.assert_allclose(
        results.load(tmp_path)[0].losses, 0.8 ** (2 * np.arange(1, 11)), rtol=1e-5
    )
