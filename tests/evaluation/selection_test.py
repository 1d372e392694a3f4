"""Selection on x^2, where a learned rate r gives the loss ((1 - 2 r)^2)^t after t steps."""

import csv
import json
import math
import os
import pathlib
import shutil

import numpy as np
import pytest

import l2o_tf
from l2o_tf import artifacts, cli, loading, optimizees, rules
from l2o_tf.core import errors, files
from l2o_tf.evaluation import measuring, runner, selecting, selection, tasks
from l2o_tf.evaluation.config import SelectConfig

# The larger, the faster; from 1 on they diverge.
RATES = {"a": {10: 0.006, 20: 0.01, 30: 0.002}, "b": {10: 0.004, 20: 0.008}}
NUM_STEPS = 400


def make_run(directory, rates, folder="snapshots"):
    """The directory of a run that learned these rates, by epoch."""
    rule = rules.create("global_learning_rate")
    for epoch, rate in rates.items():
        arrays = {"learning_rate": np.float32(rate)}
        files.write_arrays(directory / folder / f"epoch_{epoch:06d}.npz", arrays)
    artifacts.save_rule(directory, rule, card={"training": {"seed": 3}, "stage": 0})
    return str(directory)


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """Selections on an optimizee share its runner, which takes long to compile."""
    runners, make = {}, measuring.Bench.runner

    def shared(self, task):
        key = task._replace(num_steps=0)
        if key not in runners:
            runners[key] = make(self, task)
        return runners[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring.Bench, "runner", shared)
        yield


@pytest.fixture
def runs(tmp_path):
    return tuple(make_run(tmp_path / name, rates) for name, rates in RATES.items())


def select(runs, workdir, **flags):
    flags = {"optimizees": ("simple",), "num_steps": NUM_STEPS, "num_seeds": 1, **flags}
    config = SelectConfig(runs=tuple(runs), workdir=str(workdir), **flags)
    try:
        selecting.select(config, cli.say, cli.import_tensorflow_quietly, cli.show)
    except errors.Interrupted as interrupt:
        cli.say(f"\ninterrupted: {interrupt}")
        return 130
    return 0


def score_of(rate, num_steps):
    """Mean of ln x_t^2 over the last tenth of the steps, from x_0 = 1."""
    last = range(num_steps - num_steps // 10 + 1, num_steps + 1)
    return float(np.mean([2 * t * math.log(abs(1 - 2 * rate)) for t in last]))


def rows_of(workdir):
    with (workdir / "table.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def measured(monkeypatch):
    """What is run: (rate, number of steps)."""
    run, made = runner.Runner.run, []

    def recording(self, rule, seed, num_steps):
        made.append((round(float(rule.weights()["learning_rate"]), 6), num_steps))
        return run(self, rule, seed, num_steps)

    monkeypatch.setattr(runner.Runner, "run", recording)
    return made


def test_the_best_rate_wins_and_the_table_has_all_scores(runs, tmp_path, capsys):
    assert select(runs, tmp_path / "out") == 0
    out, rows = capsys.readouterr().out, rows_of(tmp_path / "out")
    # Of five two run 120 steps, the third of 400 (rungs below 100 steps are left out), of two one.
    ranking = [("a", 20), ("b", 20), ("a", 10), ("b", 10), ("a", 30)]
    assert [(row["run"], int(row["epoch"])) for row in rows] == ranking
    for row, (run, epoch) in zip(rows, ranking):
        score = score_of(RATES[run][epoch], 120)
        assert float(row["score@120"]) == pytest.approx(score, abs=2e-4)
    assert [row["num_steps"] for row in rows] == ["400", "400", "120", "120", "120"]
    assert float(rows[0]["score@400"]) == pytest.approx(score_of(0.01, 400), abs=1e-3)
    assert float(rows[0]["score simple"]) == float(rows[0]["score@400"])
    assert rows[2]["score@400"] == ""
    windows = np.mean([2 * t * math.log(1 - 2 * 0.006) for t in range(1, 101)])
    assert float(rows[2]["ln loss simple@100"]) == pytest.approx(windows, abs=2e-4)
    assert "the best is a, epoch 20" in out
    assert (tmp_path / "out" / "selection.png").read_bytes().startswith(b"\x89PNG")


def test_the_winner_is_exported_byte_by_byte_with_a_card(runs, tmp_path):
    select(runs, tmp_path / "out", num_seeds=2)
    exported = (tmp_path / "out" / "rule.npz").read_bytes()
    assert exported == (tmp_path / "a" / "snapshots" / "epoch_000020.npz").read_bytes()
    rule = loading.load(tmp_path / "out")
    assert float(rule.weights()["learning_rate"]) == np.float32(0.01)
    card = json.loads((tmp_path / "out" / "rule.json").read_text())
    assert (card["run"], card["epoch"], card["training"]) == ("a", 20, {"seed": 3})
    assert "stage" not in card  # Of the run's own export, which is another rule.
    chosen = card["selection"]
    assert (chosen["num_runs"], chosen["num_snapshots"], chosen["num_seeds"]) == (2, 5, 2)
    assert chosen["rungs"] == [
        {"num_steps": 120, "snapshots": 5, "diverged": 0},
        {"num_steps": 400, "snapshots": 2, "diverged": 0},
    ]
    assert chosen["score"] == pytest.approx(score_of(0.01, 400), abs=1e-3)
    assert [(best["run"], best["epoch"]) for best in chosen["best_of_runs"]] == [
        ("a", 20),
        ("b", 20),
    ]


def test_optimizees_count_alike(tmp_path):
    runs = [make_run(tmp_path / "a", {1: 0.003, 2: 0.05})]
    select(runs, tmp_path / "out", optimizees=("simple", "simple_multi"), rungs=(), num_steps=100)
    row = rows_of(tmp_path / "out")[0]
    # Two coordinates, of which Adam takes the other: ln of the sum is at least that of one.
    parts = [float(row["score simple"]), float(row["score simple_multi"])]
    assert parts[0] == pytest.approx(score_of(0.05, 100), abs=2e-4) and parts[1] > parts[0]
    assert float(row["score@100"]) == pytest.approx(np.mean(parts), abs=1e-4)


def test_optimizees_have_their_options(runs, tmp_path, measured):
    wrong = {"optimizees": ("quadratic",), "optimizee_options": '{"num_dimensions": 2}'}
    with pytest.raises(errors.InputError, match="quadratic has no option 'num_dimensions'; it has"):
        select(runs, tmp_path / "wrong", **wrong)
    assert measured == []
    flags = {"optimizees": ("simple", "quadratic"), "num_steps": 20, "rungs": ()}
    flags["optimizee_options"] = '{"quadratic": {"num_dims": 2}}'
    assert select(runs, tmp_path / "out", **flags) == 0
    on = runner.Runner(optimizees.create("quadratic", num_dims=2))
    for row in rows_of(tmp_path / "out"):
        rate = RATES[row["run"]][int(row["epoch"])]
        losses = on.run(rules.create("sgd", learning_rate=rate), measuring.seed_of_run(0), 20)
        expected = float(np.mean(np.log(losses[-2:])))
        assert float(row["score quadratic"]) == pytest.approx(expected, abs=1e-4)
    card = json.loads((tmp_path / "out" / "rule.json").read_text())
    nothing = {"dataset": "", "split": ""}
    assert card["selection"]["optimizees"] == {
        "simple": nothing,
        "quadratic": {**nothing, "options": {"num_dims": 2}},
    }
    # Another value is another measurement.
    del measured[:]
    flags["optimizee_options"] = '{"quadratic": {"num_dims": 3}}'
    assert select(runs, tmp_path / "out", **flags) == 0
    assert len(measured) == 5


def test_measurements_have_names_that_file_systems_take():
    store, one = selection.Store("scores"), snapshot(1)
    options = [json.dumps({"sizes": [20] * 60, "scale": scale}) for scale in (1.0, 2.0)]
    wanted = [tasks.Task("mlp", "mnist", "train", 100, of_task) for of_task in ("", *options)]
    names = [store.path(selection.Measurement(one, task, 0)).name for task in wanted]
    assert names[0] == f"{one.fingerprint}-mlp-mnist-train-100-seed0.json"  # As before.
    assert len(set(names)) == 3 and max(map(len, names)) < 210
    assert not set('":{}/') & set("".join(names))


def test_divergence_loses_and_is_counted(tmp_path, capsys):
    runs = [make_run(tmp_path / "a", {1: 2.0, 2: 0.01, 3: np.nan, 4: 0.02})]
    select(runs, tmp_path / "out", rungs=(200,))
    rows = rows_of(tmp_path / "out")
    assert [int(row["epoch"]) for row in rows] == [4, 2, 1, 3]
    assert [row["score@200"] for row in rows[2:]] == ["inf", "inf"]
    assert (
        "epoch 4, ln loss" in (printed := capsys.readouterr()).err and "2 diverged" in printed.err
    )
    assert "diverged" not in printed.out.split("the best is")[1]
    card = json.loads((tmp_path / "out" / "rule.json").read_text())
    assert card["selection"]["rungs"][0] == {"num_steps": 200, "snapshots": 4, "diverged": 2}
    with pytest.raises(errors.InputError, match="all 1 snapshots diverged within 200 steps"):
        select([make_run(tmp_path / "b", {1: 2.0})], tmp_path / "other", rungs=(200,))


def test_nothing_is_measured_twice_after_an_interruption(runs, tmp_path, monkeypatch, capsys):
    select(runs, tmp_path / "at_once")
    run, made = runner.Runner.run, []

    def interrupted(self, rule, seed, num_steps):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((float(rule.weights()["learning_rate"]), num_steps))
        return run(self, rule, seed, num_steps)

    monkeypatch.setattr(runner.Runner, "run", interrupted)
    assert select(runs, tmp_path / "out") == 130
    message = capsys.readouterr().err
    assert "what is done is kept. To go on: python -m l2o_tf.select --runs=" in message
    first, made[:] = list(made), []
    assert select(runs, tmp_path / "out") == 130
    assert not set(first) & set(made)
    monkeypatch.setattr(runner.Runner, "run", run)
    select(runs, tmp_path / "out")
    for name in ("rule.npz", "rule.json", "table.csv", "selection.png"):
        outputs = [(tmp_path / d / name).read_bytes() for d in ("at_once", "out")]
        assert outputs[0] == outputs[1]


def test_more_runs_measure_only_what_is_new(runs, tmp_path, measured):
    select(runs[:1], tmp_path / "out", rungs=())
    assert measured == [(rate, NUM_STEPS) for rate in (0.006, 0.01, 0.002)]
    del measured[:]
    # Another folder of the same name changes labels, not what is known.
    make_run(tmp_path / "others" / "a", {40: 0.01, 50: 0.012})
    select([runs[0], str(tmp_path / "others")], tmp_path / "out", rungs=())
    assert measured == [(0.012, NUM_STEPS)]
    rows = rows_of(tmp_path / "out")
    assert rows[0]["run"] == "others/a" and rows[0]["epoch"] == "50"
    assert rows[1]["score@400"] == rows[2]["score@400"]


def test_shards_measure_disjoint_parts_and_the_last_one_reports(runs, tmp_path, measured, capsys):
    select(runs, tmp_path / "at_once", rungs=())
    del measured[:]
    select(runs, tmp_path / "out", rungs=(), shard="1/2")
    first = list(measured)
    message = capsys.readouterr().err
    assert f"this shard is done; {5 - len(first)} measurements of others are missing" in message
    assert len(first) == 3 and not (tmp_path / "out" / "rule.npz").exists()
    select(runs, tmp_path / "out", rungs=(), shard="2/2")
    assert len(measured) == len(set(measured)) == 5
    tables = [(tmp_path / d / "table.csv").read_bytes() for d in ("at_once", "out")]
    assert tables[0] == tables[1]


@pytest.mark.slow  # Processes that import TensorFlow.
def test_processes_side_by_side_give_the_same(runs, tmp_path):
    for jobs in (1, 2):
        select(runs, tmp_path / str(jobs), jobs=jobs)
    tables = [(tmp_path / d / "table.csv").read_bytes() for d in ("1", "2")]
    assert tables[0] == tables[1]


def snapshot(epoch):
    return selection.Snapshot("run", epoch, None, None, str(epoch))


def test_a_third_survives_each_rung_of_a_table_of_scores():
    # Ranks change from rung to rung: 0 leads at first, and what is 14th of 40 at first never wins.
    table = {
        100: {epoch: float(epoch) for epoch in range(40)},
        300: {epoch: float(-epoch) for epoch in range(40)},
        1000: {epoch: abs(epoch - 11.2) for epoch in range(40)},
    }
    asked = []

    def measure(candidates, num_steps):
        asked.append((num_steps, [one.epoch for one in candidates]))
        return {one: table[num_steps][one.epoch] for one in candidates}

    rungs = selection.halve([snapshot(i) for i in range(40)], (100, 300, 1000), measure)
    assert asked[0] == (100, list(range(40)))
    assert asked[1] == (300, list(range(14)))
    assert asked[2] == (1000, [13, 12, 11, 10, 9])
    assert [len(rung.scores) for rung in rungs] == [40, 14, 5]
    assert [one.epoch for one in selection.survivors(rungs[-1].scores)] == [11, 12]


@pytest.mark.parametrize("number, left", [(1, 1), (3, 1), (4, 2), (10, 4)])
def test_at_least_one_survives(number, left):
    scores = {snapshot(i): math.inf if i == 0 and number > 1 else 1.0 for i in range(number)}
    assert len(selection.survivors(scores)) == left


def test_halving_ends_when_all_diverged():
    rungs = selection.halve(
        [snapshot(1)], (10, 20), lambda candidates, _: dict.fromkeys(candidates, math.inf)
    )
    assert [rung.num_steps for rung in rungs] == [10]


def test_a_loss_of_zero_counts_as_in_tables_and_none_above_it_is_lower():
    found = selection.measured(np.float32([0, 1e-30] * 500))
    assert found.score == pytest.approx(math.log(1e-10), abs=1e-5)
    in_tables = pytest.approx((math.log(1e-10) + math.log(1e-30)) / 2)
    assert found.ln_losses == {100: in_tables, 1000: in_tables}
    # Optimizees with negative losses are told apart too.
    below = selection.measured(np.full(1000, -1.0, np.float32))
    assert below.score == pytest.approx(2 * math.log(1e-10), abs=1e-5)
    losses = np.ones(1000, np.float32)
    losses[50] = np.inf
    assert selection.measured(losses) == selection.Measured(math.inf, {1000: 0.0})


def test_exported_rules_and_bare_snapshots_are_sources(tmp_path):
    make_run(tmp_path / "bare", {5: 0.05, 7: 0.04}, folder=".")
    rule = rules.create("global_learning_rate", initial_rate=0.02)
    artifacts.save_rule(tmp_path / "exported", rule, card={"epoch": 90})
    found = selection.find([str(tmp_path / "bare"), str(tmp_path / "exported")])
    assert [(one.run, one.epoch, one.path.name) for one in found] == [
        ("bare", 5, "epoch_000005.npz"),
        ("bare", 7, "epoch_000007.npz"),
        ("exported", 90, "rule.npz"),
    ]


def test_a_rule_in_safetensors_is_a_source(tmp_path):
    pytest.importorskip("safetensors")
    rule = rules.create("global_learning_rate", initial_rate=0.02)
    l2o_tf.save_preset(tmp_path / "shared", rule, safetensors=True)
    (tmp_path / "shared" / "rule.npz").unlink()
    (found,) = selection.find([str(tmp_path / "shared")])
    assert found.path.name == "rule.safetensors"
    select([str(tmp_path / "shared")], tmp_path / "out")
    winner = artifacts.load_rule(tmp_path / "out")
    np.testing.assert_array_equal(winner.weights()["learning_rate"], np.float32(0.02))


def test_the_winner_names_the_plugin_that_registers_it(runs, tmp_path):
    card = files.read_json(tmp_path / "a" / "rule.json")
    files.write_json(tmp_path / "a" / "rule.json", {**card, "plugin": "my_rules"})
    select(runs[:1], tmp_path / "out")
    assert files.read_json(tmp_path / "out" / "rule.json")["plugin"] == "my_rules"


def test_a_selection_among_the_runs_is_none_of_them(runs, tmp_path, capsys):
    folder = tmp_path / "folder"
    for name, rates in RATES.items():
        make_run(folder / name, rates)
    tables = []
    for sources, workdir in (
        ([str(folder)], folder / "selected"),
        ([str(folder)], folder / "selected"),
        ([str(folder)], folder / "again"),
        (map(str, sorted(folder.iterdir())), folder / "selected"),  # As folder/* names them.
    ):
        select([s for s in sources if not s.endswith("again")], workdir)
        assert "selecting among 5 snapshots of 2 runs on simple\n" in capsys.readouterr().err
        tables.append((workdir / "table.csv").read_bytes())
    assert len(set(tables)) == 1
    # Named on its own it is the exported rule that it also is.
    select([str(folder / "selected"), str(folder / "b")], tmp_path / "out")
    assert "selecting among 3 snapshots of 2 runs" in capsys.readouterr().err
    with pytest.raises(errors.InputError, match="selected is the only one of the runs"):
        select([str(folder / "selected")], folder / "selected")
    shutil.rmtree(folder / "a")
    shutil.rmtree(folder / "b")
    with pytest.raises(errors.InputError, match="folder holds no rule.json: pass the directory of"):
        select([str(folder)], folder / "selected")


@pytest.mark.parametrize("num_runs", [1, 2])
def test_what_is_replaced_meanwhile_is_neither_measured_nor_exported(
    tmp_path, monkeypatch, num_runs
):
    def export(name, rate):
        rule = rules.create("global_learning_rate", initial_rate=rate)
        artifacts.save_rule(tmp_path / name, rule)
        return str(tmp_path / name)

    runs, run, made = [export("a", 0.002), export("b", 0.001)][:num_runs], runner.Runner.run, []

    def meanwhile(self, rule, *args):
        made.append(round(float(rule.weights()["learning_rate"]), 6))
        export(pathlib.Path(runs[-1]).name, 0.003)
        return run(self, rule, *args)

    monkeypatch.setattr(runner.Runner, "run", meanwhile)
    with pytest.raises(errors.InputError, match="rule.npz has been replaced since this selection"):
        select(runs, tmp_path / "out", rungs=())
    assert made == [0.002] and not (tmp_path / "out" / "rule.npz").exists()
    (score,) = (tmp_path / "out" / "scores").iterdir()
    assert json.loads(score.read_text())["score"] == pytest.approx(score_of(0.002, 400), abs=1e-3)
    monkeypatch.setattr(runner.Runner, "run", run)
    assert select(runs, tmp_path / "out", rungs=()) == 0
    assert float(rows_of(tmp_path / "out")[0]["score@400"]) == pytest.approx(
        score_of(0.003, 400), abs=1e-3
    )


@pytest.mark.parametrize("epoch", ["90", None, 9.5])
def test_a_card_without_a_number_of_its_epoch_is_one_line(tmp_path, epoch):
    artifacts.save_rule(tmp_path / "a", rules.create("global_learning_rate"), card={"epoch": epoch})
    with pytest.raises(errors.InputError) as raised:
        select([str(tmp_path / "a")], tmp_path / "out")
    assert str(raised.value) == (
        f"{tmp_path / 'a' / 'rule.json'} is damaged: its epoch is {json.dumps(epoch)}, no integer"
    )
    assert not (tmp_path / "out").exists()


def test_a_run_whose_name_is_no_text_is_refused_before_it_is_measured(tmp_path, measured):
    make_run(tmp_path / "runs" / os.fsdecode(b"dm_\xe9"), RATES["a"])
    with pytest.raises(errors.InputError, match=r"dm_\\udce9' is no text in UTF-8: use another"):
        select([str(tmp_path / "runs")], tmp_path / "out")
    assert not measured and not (tmp_path / "out").exists()


def test_what_is_no_run_or_no_selection_is_one_line(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, message in (
        (str(tmp_path / "nothing"), "no such directory; pass directories of runs"),
        (str(tmp_path / "empty"), "holds no rule.json: pass the directory of a run"),
    ):
        with pytest.raises(errors.InputError, match=message):
            select([source], tmp_path / "out")
    with pytest.raises(errors.InputError, match="exists and holds no selection"):
        select(runs, runs[0])  # The winner would take the place of the run's export.
    with pytest.raises(errors.InputError, match="unknown optimizee 'foo'"):
        select(runs, tmp_path / "out", optimizees=("foo",))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ['"low"', "1" + "0" * 400])
def test_a_damaged_score_is_reported(runs, tmp_path, value):
    select(runs, tmp_path / "out")
    score = next((tmp_path / "out" / "scores").iterdir())
    score.write_text(f'{{"score": {value}, "ln_losses": {{}}}}')
    with pytest.raises(errors.InputError, match=f"{score.name} is damaged: delete it"):
        select(runs, tmp_path / "out")


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"rate": np.float32(1)}, "epoch_000001.npz lacks learning_rate"),
        ({"learning_rate": np.array("a")}, "learning_rate in epoch_000001.npz is <U1"),
    ],
)
def test_a_snapshot_of_another_rule_is_reported(tmp_path, arrays, message):
    run = make_run(tmp_path / "a", {1: 0.1})
    files.write_arrays(tmp_path / "a" / "snapshots" / "epoch_000001.npz", arrays)
    with pytest.raises(errors.InputError, match=message):
        select([run], tmp_path / "out")
