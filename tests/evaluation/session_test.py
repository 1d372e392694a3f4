"""Evaluations with --jobs, whose processes are here a bench of the same process."""

import contextlib
import types

import numpy as np
import pytest

from l2o_tf import artifacts, cli, optimizees, rules
from l2o_tf.core import errors, seeds
from l2o_tf.evaluation import results, runner, session, tasks, tuning, workbench
from l2o_tf.evaluation.config import EvaluateConfig


def run(workdir, entries, num_steps):
    config = EvaluateConfig(
        rules=entries,
        optimizees=("simple",),
        num_steps=num_steps,
        num_seeds=1,
        jobs=2,
        workdir=str(workdir),
        tuned_dir=str(workdir) + "_tuned",
    )
    session.evaluate(config, cli.say)


def test_searches_are_over_before_processes_begin(tmp_path, monkeypatch, capsys):
    now = [0.0]

    class OneBehindTheOther:
        """In place of processes: a run takes 10 s, a search 1000 s."""

        @contextlib.contextmanager
        def open(self, jobs, recipe, prepare):
            cache = tuning.Cache(str(tmp_path / "results_tuned"))
            for rule in ("sgd", "adam"):
                assert cache.read(rule, tasks.Task("simple", "", "", 50)).learning_rate
            yield self.measure

        def measure(self, wanted):
            for one in wanted:
                now[0] += 10
                yield one, np.ones(50, np.float32)

    def search(*args):
        now[0] += 1000
        return original(*args)

    original = tuning.search
    monkeypatch.setattr(tuning, "RATES", (0.1, 0.2))
    monkeypatch.setattr(tuning, "search", search)
    monkeypatch.setattr(session, "pool", OneBehindTheOther())
    monkeypatch.setattr(session, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    run(tmp_path / "results", ("sgd:0.1", "tuned:sgd", "tuned:adam"), 50)
    told = capsys.readouterr().err
    assert now == [2030.0] and "(1 of 3 runs, about 20 s left)\n" in told
    assert "\n5 optimizee steps per second\n" in told
    assert told.index("\nsgd:0.1 on simple, seed 0") > told.rindex("\ntuning adam on simple")


@pytest.mark.parametrize("replaced", [False, True])
def test_processes_refuse_a_rule_that_is_replaced_meanwhile(tmp_path, monkeypatch, replaced):
    @contextlib.contextmanager
    def here(jobs, recipe, prepare):
        if replaced:  # By a training, after the evaluation has read it.
            rule = rules.create_learned("dm", seeds.make_seed(1, "rule"))
            artifacts.save_rule(tmp_path / "dm", rule)
        bench = workbench.Bench(recipe[1])
        yield lambda wanted: ((one, bench.measure(one)) for one in wanted)

    monkeypatch.setattr(session.pool, "open", here)
    first = rules.create_learned("dm", seeds.make_seed(0, "rule"))
    artifacts.save_rule(tmp_path / "dm", first)
    labels = str(tmp_path / "dm"), "sgd:0.1"
    if replaced:
        with pytest.raises(errors.InputError) as raised:
            run(tmp_path / "results", labels, 120)
        assert str(raised.value).startswith("dm has become another rule (or has other weights)")
        assert not results.done(tmp_path / "results")
    else:
        run(tmp_path / "results", labels, 120)
        losses = {found.rule: found.losses for found in results.load(tmp_path / "results")}
        on, seed = runner.Runner(optimizees.create("simple")), seeds.make_seed(0, "evaluation")
        np.testing.assert_array_equal(losses["dm"], on.run(first, seed, 120))


def test_runs_of_some_optimizees_alone_are_taken_over(tmp_path):
    flags = EvaluateConfig(
        rules=("sgd:0.1",), optimizees=("mlp", "mlp_relu"), num_steps=2, workdir=str(tmp_path)
    )
    run = results.Run("sgd:0.1", "mlp_relu", "", "", 0, np.array([1.0, 0.5], np.float32))
    shown = []
    session.adopt(flags, {"sgd:0.1": "x"}, [run], lambda text: None, shown.append)
    assert results.stored(tmp_path).keys() == {run.key}
    assert (tmp_path / "mlp_relu.png").exists() and not (tmp_path / "mlp.png").exists()
    assert "mlp_relu.png" in shown[0] and "mlp.png" not in shown[0]
