"""Grid search on x^2, where SGD's loss is known: ((1 - 2 rate)^2)^t after t steps."""

import json
import math

import numpy as np
import pytest

from l2o_tf import cli, rules
from l2o_tf import tune as tune_command
from l2o_tf.core import errors
from l2o_tf.evaluation import runner, session, statistics, tasks, tuning
from l2o_tf.evaluation.config import EvaluateConfig, TuneConfig

RATES = (0.05, 0.1, 0.2, 0.9)
FILE = "sgd-simple-50.json"


def tune(directory, **flags):
    flags = {"rules": ("sgd",), "rates": RATES, "num_steps": 50, "num_seeds": 1, **flags}
    config = TuneConfig(optimizees=("simple",), tuned_dir=str(directory), **flags)
    try:
        session.tune(config, cli.say, cli.show)
    except errors.Interrupted as interrupt:
        cli.say(f"\ninterrupted: {interrupt}")
        return 130
    return 0


@pytest.fixture
def rates_run(monkeypatch):
    """The learning rates of the runs that are made."""
    run, rates = runner.Runner.run, []

    def recording(self, rule, *args):
        rates.append(rule.learning_rate)
        return run(self, rule, *args)

    monkeypatch.setattr(runner.Runner, "run", recording)
    return rates


def score_of_sgd(rate):
    """Mean of ln x_t^2 over t = 46, ..., 50, from x_0 = 1."""
    return np.mean([2 * t * math.log(abs(1 - 2 * rate)) for t in range(46, 51)])


def test_scores_and_winner_are_those_of_the_formula(tmp_path, capsys):
    assert tune(tmp_path) == 0
    content = json.loads((tmp_path / FILE).read_text())
    assert content["learning_rate"] == 0.2 and content["num_seeds"] == 1
    scores = {float(rate): score for rate, score in content["scores"].items()}
    assert scores.keys() == set(RATES)
    for rate, score in scores.items():
        assert score == pytest.approx(score_of_sgd(rate), rel=1e-4)
    captured = capsys.readouterr()
    assert captured.out == f"sgd on simple: learning rate 0.2 ({tmp_path / FILE})\n"
    assert "learning rate 0.9 (4 of 4): ln loss -21.42" in captured.err


def test_what_a_search_costs_is_said_before_it(tmp_path, capsys):
    def first_line():
        return capsys.readouterr().err.splitlines()[0]

    tune(tmp_path, rates=RATES[:2], num_seeds=2)
    assert first_line() == "tuning sgd on simple: 4 runs of 50 steps"
    tune(tmp_path, num_seeds=2)  # Two of the four rates are known.
    assert first_line() == "tuning sgd on simple: 4 runs of 50 steps"
    config = EvaluateConfig(
        rules=("tuned:sgd", "tuned:adam", "again=tuned:adam", "sgd:0.1"),
        optimizees=("simple",),
        num_steps=50,
        num_seeds=1,
        workdir=str(tmp_path / "results"),
        tuned_dir=str(tmp_path),
    )
    session.evaluate(config, cli.say)
    expected = "4 runs of 50 steps on simple; CPU, and up to 22 more to tune learning rates"
    assert first_line() == expected


def test_losses_below_zero_are_told_apart():
    scores = {
        rate: statistics.score(np.full(10, loss, np.float32), tuning.LOSS_FLOOR)
        for rate, loss in ((0.1, 0.0), (0.2, -0.5), (0.3, -1.0), (0.4, 1e-30))
    }
    assert scores[0.1] == pytest.approx(-87.3365, abs=1e-3)
    assert sorted(scores, key=scores.get) == [0.3, 0.2, 0.1, 0.4]
    assert tuning.best(scores) == 0.3


def test_a_second_call_runs_nothing_and_more_rates_run_only_those(tmp_path, rates_run, capsys):
    tune(tmp_path, num_seeds=2)
    assert rates_run == [0.05, 0.05, 0.1, 0.1, 0.2, 0.2, 0.9, 0.9]
    first = (tmp_path / FILE).read_bytes()
    del rates_run[:]
    tune(tmp_path, num_seeds=2)
    assert rates_run == [] and (tmp_path / FILE).read_bytes() == first
    tune(tmp_path, num_seeds=2, rates=(0.2, 0.45))
    assert rates_run == [0.45, 0.45]
    # Higher ones were tried before: there is no edge to go beyond.
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == f"sgd on simple: learning rate 0.45 ({tmp_path / FILE})"
    del rates_run[:]
    tune(tmp_path, num_seeds=1, rates=(0.2,))  # Scores over other seeds do not count.
    assert rates_run == [0.2]
    tune(tmp_path, num_seeds=2)  # But they are still there.
    assert rates_run == [0.2]


def test_a_grid_that_is_worse_does_not_replace_the_winner(tmp_path, rates_run, capsys):
    tune(tmp_path, rates=(0.2, 0.3))
    assert "learning rate 0.3, the highest of the grid: tune with higher" in capsys.readouterr().out
    tune(tmp_path, rates=(0.9, 0.95))  # As that remark advises, but too far.
    tune(tmp_path, rates=(1e20, 1e30))  # Diverge.
    assert rates_run == [0.2, 0.3, 0.9, 0.95, 1e20, 1e30]
    out = f"sgd on simple: learning rate 0.3 ({tmp_path / FILE})\n"
    assert capsys.readouterr().out == 2 * out
    content = json.loads((tmp_path / FILE).read_text())
    assert content["learning_rate"] == 0.3 and len(content["scores"]) == 6
    tune(tmp_path, rates=(0.9,), num_seeds=2)  # Means of two runs are not compared with those.
    content = json.loads((tmp_path / FILE).read_text())
    assert (content["learning_rate"], content["num_seeds"]) == (0.9, 2)
    tune(tmp_path, rates=(0.9,))
    content = json.loads((tmp_path / FILE).read_text())
    assert (content["learning_rate"], content["num_seeds"]) == (0.3, 1)


def test_two_searches_at_once_leave_the_best_of_both(tmp_path, monkeypatch):
    run, started = runner.Runner.run, []

    def meanwhile(self, *args):
        if not started:
            started.append(True)
            tune(tmp_path, rates=(0.3, 0.9))
        return run(self, *args)

    monkeypatch.setattr(runner.Runner, "run", meanwhile)
    tune(tmp_path, rates=(0.1, 0.2))
    assert json.loads((tmp_path / FILE).read_text())["learning_rate"] == 0.3


def test_evaluation_takes_the_winner_of_any_grid(tmp_path, rates_run):
    tune(tmp_path / "tuned", rates=(0.1, 0.2, 0.8))
    del rates_run[:]
    config = EvaluateConfig(
        rules=("tuned:sgd",),
        optimizees=("simple",),
        num_steps=50,
        num_seeds=1,
        workdir=str(tmp_path / "results"),
        tuned_dir=str(tmp_path / "tuned"),
    )
    session.evaluate(config, cli.say)
    assert rates_run == [0.2]


def test_an_interrupted_search_goes_on(tmp_path, monkeypatch, rates_run, capsys):
    run = runner.Runner.run

    def interrupted(self, *args):
        if len(rates_run) == 2:
            raise KeyboardInterrupt
        return run(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Runner, "run", interrupted)
        assert tune(tmp_path) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("interrupted: what is done is kept. To go on: python -m l2o_tf.tune --")
    assert "--rates=0.05,0.1,0.2,0.9 --num_steps=50" in last
    assert json.loads((tmp_path / FILE).read_text())["learning_rate"] is None
    assert tune(tmp_path) == 0
    assert rates_run == list(RATES)
    assert json.loads((tmp_path / FILE).read_text())["learning_rate"] == 0.2


def test_searches_in_one_directory_lose_nothing(tmp_path):
    task, cache = tasks.Task("simple", "", "", 50), tuning.Cache(str(tmp_path))
    cache.add("sgd", task, tuning.Record(None, 2, {0.1: -1.0}))
    cache.add("sgd", task, tuning.Record(0.2, 2, {0.2: -2.0}))
    cache.add("sgd", task, tuning.Record(None, 2, {0.3: math.inf}))
    two = {0.1: -1.0, 0.2: -2.0, 0.3: math.inf}
    assert cache.read("sgd", task) == (0.2, 2, two, {})


def test_searches_with_other_numbers_of_seeds_lose_nothing(tmp_path):
    task, cache = tasks.Task("simple", "", "", 50), tuning.Cache(str(tmp_path))
    cache.add("sgd", task, tuning.Record(0.2, 2, {0.2: -2.0}))
    cache.add("sgd", task, tuning.Record(None, 1, {0.4: math.inf}))  # Has no winner yet.
    cache.add("sgd", task, tuning.Record(None, 2, {0.3: -1.0}))
    assert cache.read("sgd", task) == (0.2, 2, {0.2: -2.0, 0.3: -1.0}, {1: {0.4: math.inf}})
    cache.add("sgd", task, tuning.Record(0.5, 1, {0.5: -3.0}))
    one, two = {0.4: math.inf, 0.5: -3.0}, {0.2: -2.0, 0.3: -1.0}
    assert cache.read("sgd", task) == (0.5, 1, one, {2: two})


def test_concurrent_searches_with_other_numbers_of_seeds_run_nothing_twice(
    tmp_path, monkeypatch, rates_run
):
    run, started = runner.Runner.run, []

    def meanwhile(self, *args):
        if not started:
            started.append(True)
            tune(tmp_path, rates=(0.1, 0.2), num_seeds=1)
        return run(self, *args)

    monkeypatch.setattr(runner.Runner, "run", meanwhile)
    tune(tmp_path, rates=(0.1, 0.2), num_seeds=2)
    assert rates_run == [0.1, 0.2, 0.1, 0.1, 0.2, 0.2]
    del rates_run[:]
    for num_seeds in (1, 2):
        tune(tmp_path, rates=(0.1, 0.2), num_seeds=num_seeds)
    assert rates_run == []


def test_a_search_takes_over_what_another_ran_meanwhile(tmp_path, monkeypatch, rates_run):
    run, other = runner.Runner.run, tuning.Cache(str(tmp_path))

    def meanwhile(self, *args):
        task = tasks.Task("simple", "", "", 50)
        other.add("sgd", task, tuning.Record(None, 1, {0.2: -100.0}))
        return run(self, *args)

    monkeypatch.setattr(runner.Runner, "run", meanwhile)
    tune(tmp_path)
    assert rates_run == [0.05, 0.1, 0.9]
    assert json.loads((tmp_path / FILE).read_text())["scores"]["0.2"] == -100.0


def test_a_name_of_a_task_is_no_path(tmp_path):
    task = tasks.Task("simple", "../../x", "test", 50)
    assert tuning.Cache(str(tmp_path)).path("sgd", task).parent == tmp_path


@pytest.mark.parametrize(
    "rate, rates, remark",
    [
        (0.1, (0.1, 0.2), ", the lowest of the grid: tune with lower --rates as well"),
        (0.3, (0.3, 0.1, 0.2), ", the highest of the grid: tune with higher --rates as well"),
        (0.2, (0.3, 0.1, 0.2), ""),
        (0.2, (0.2,), ""),
    ],
)
def test_a_winner_at_the_edge_of_the_grid(rate, rates, remark):
    assert tuning.edge(rate, rates) == remark


def test_both_commands_say_when_the_winner_is_at_the_edge(tmp_path, monkeypatch, capsys):
    tune(tmp_path, rates=(0.05, 0.1))
    assert "learning rate 0.1, the highest of the grid: tune with" in capsys.readouterr().out
    monkeypatch.setattr(tuning, "RATES", (0.2, 0.9, 2.0))
    config = EvaluateConfig(
        rules=("tuned:sgd",),
        optimizees=("simple",),
        num_steps=60,
        num_seeds=1,
        workdir=str(tmp_path / "results"),
        tuned_dir=str(tmp_path),
    )
    session.evaluate(config, cli.say)
    assert "sgd on simple: learning rate 0.2, the lowest of the grid" in capsys.readouterr().err


def test_rates_that_diverge_lose_with_their_first_run(tmp_path, rates_run):
    tune(tmp_path, rates=(1e30, 0.1, 1e20), num_seeds=2)
    assert rates_run == [1e30, 0.1, 0.1, 1e20]
    content = json.loads((tmp_path / FILE).read_text())
    assert content["learning_rate"] == 0.1
    assert content["scores"]["1e+30"] is None and content["scores"]["1e+20"] is None


def test_all_rates_diverge(tmp_path, rates_run):
    for _ in range(2):
        with pytest.raises(errors.InputError, match="^every learning rate of the grid diverged: "):
            tune(tmp_path, rates=(1e20, 1e30))
    # The grid of an evaluation is no flag of its own: the line says whose --rates.
    with pytest.raises(errors.InputError, match=r"with smaller --rates \(python -m l2o_tf.tune\)"):
        tune(tmp_path, rates=(1e20, 1e30))
    assert rates_run == [1e20, 1e30]  # The second time it is known.


GOOD = {"learning_rate": 0.2, "num_seeds": 1, "scores": {"0.2": -1.0, "3.0": None}}


def test_a_cache_file_as_written_can_be_read(tmp_path):
    task = tasks.Task("simple", "", "", 50)
    (tmp_path / FILE).write_text(json.dumps(GOOD))
    assert tuning.Cache(tmp_path).read("sgd", task) == (0.2, 1, {0.2: -1.0, 3.0: math.inf}, {})
    assert tuning.Cache(tmp_path).read("adam", task) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        json.dumps({**GOOD, "learning_rate": 0.3}),
        json.dumps({**GOOD, "learning_rate": "x"}),
        json.dumps({**GOOD, "learning_rate": [1]}),
        json.dumps({**GOOD, "num_seeds": None}),
        json.dumps({**GOOD, "others": [1]}),
        json.dumps({**GOOD, "others": {"x": {}}}),
        json.dumps({**GOOD, "others": {"2": {"0.2": "x"}}}),
        json.dumps({**GOOD, "scores": [1]}),
        json.dumps({**GOOD, "scores": {"x": 1}}),
        json.dumps({**GOOD, "scores": {"0.2": "x"}}),
        json.dumps({**GOOD, "scores": {"0.2": math.nan}}),
        json.dumps({**GOOD, "learning_rate": -0.2, "scores": {"-0.2": 1}}),
        json.dumps({**GOOD, "learning_rate": math.inf, "scores": {"Infinity": 1}}),
        b"\xff\xfe\x00",
        '{"learning_rate": null, "num_seeds": 1, "scores": {"0.1": 1%s}}' % ("0" * 400),
    ],
)
def test_a_damaged_cache_file_is_named(tmp_path, rates_run, content):
    path = tmp_path / FILE
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = path.read_bytes()
    with pytest.raises(errors.InputError) as raised:
        tune(tmp_path)
    assert str(raised.value) == f"{path} is damaged: delete it to tune again"
    assert rates_run == [] and path.read_bytes() == before


def test_files_of_many_options_have_names_that_file_systems_take(tmp_path):
    cache = tuning.Cache(str(tmp_path))
    wanted = [
        tasks.Task("mlp", "mnist", "train", 100, json.dumps({"sizes": [20] * 60, "scale": scale}))
        for scale in (1.0, 2.0)
    ]
    for rate, task in enumerate(wanted, 1):
        cache.add("adam", task, tuning.Record(None, 1, {float(rate): 0.5}))
    assert [cache.read("adam", task).scores for task in wanted] == [{1.0: 0.5}, {2.0: 0.5}]
    for task in wanted:
        path = cache.path("adam", task)
        assert path.name.startswith("adam-mlp-mnist-train-100-") and len(path.name) < 210
        assert json.loads(path.read_text())["options"] == task.options


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"rules": ("dm",)}, "'dm' cannot be tuned; rules that can: sgd, momentum, "),
        ({"rules": ()}, "--rules is empty"),
        ({"rates": (0.1, -1.0)}, "--rates=-1.0 must be positive numbers"),
        ({"rates": (math.nan,)}, "--rates=nan must be positive numbers"),
        (
            {"rates": (0.1, 1e300)},
            "--rates=1e+300 must be positive numbers of float32, 1.2e-38 to ",
        ),
        ({"rates": (1e-300,)}, "--rates=1e-300 must be positive numbers of float32"),
        ({"num_seeds": 0}, "--num_seeds=0 must be at least 1"),
        ({"num_steps": 10**9}, "--num_steps=1000000000 must be at most 100000000"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, flags, message):
    with pytest.raises(errors.InputError) as raised:
        tune(tmp_path / "tuned", **flags)
    assert str(raised.value).startswith(message) and "\n" not in str(raised.value)
    assert not (tmp_path / "tuned").exists()


def test_a_directory_that_cannot_be_is_found_out_before_the_first_run(tmp_path, rates_run):
    with pytest.raises(errors.InputError, match="cannot lock .*: File name too long"):
        tune(tmp_path / ("x" * 300))
    assert rates_run == []


def test_every_tunable_rule_has_a_learning_rate():
    for name in rules.tunable_names():
        assert rules.from_spec(f"{name}:0.5").weights()["learning_rate"] == 0.5


def test_the_command_line(tmp_path, capsys):
    argv = "tune --rules=sgd --optimizees=simple --rates=0.1,0.2,0.8 --num_steps=50".split()
    config = cli.parse(TuneConfig, [*argv, f"--tuned_dir={tmp_path}"])
    tune_command.main(config)
    out = capsys.readouterr().out
    assert out == f"sgd on simple: learning rate 0.2 ({tmp_path / FILE})\n"
