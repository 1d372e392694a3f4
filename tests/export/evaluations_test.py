"""A bundle that JAX runs gives the results that `evaluate` gives."""

import dataclasses
import re
import shlex

import numpy as np
import pytest

from l2o_tf import artifacts, cli, rules
from l2o_tf.core import errors, files, seeds
from l2o_tf.core import flags as core_flags
from l2o_tf.evaluation import config, results, session, tuning, workbench
from l2o_tf.export import __main__ as command
from l2o_tf.export import evaluations

NUM_STEPS, NUM_SEEDS = 7, 2
SELECT = ["--what=select", "--runs=a"]
RULE = ["--what=rule", "--rules=scale", "--shapes=2"]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Two rules that share their programs."""
    directories = []
    for seed in range(2):
        rule = rules.create_learned("rnnprop", seeds.make_seed(seed, "rule"), units=(5, 4))
        directories.append(tmp_path_factory.mktemp(f"rule_{seed}"))
        artifacts.save_rule(directories[-1], rule)
    return [f"rule_{i}={path}" for i, path in enumerate(directories)]


def flags(workdir, entries, optimizees=("mlp",), **changes):
    return config.EvaluateConfig(
        rules=tuple(entries),
        optimizees=optimizees,
        dataset="digits",
        num_steps=NUM_STEPS,
        num_seeds=NUM_SEEDS,
        seed=3,
        workdir=str(workdir),
        **changes,
    )


def run_and_take_back(tmp_path, entries, optimizees=("mlp",), advances=2):
    """The results of JAX, interrupted after some calls, and those of `evaluate`, by key."""
    pytest.importorskip("jax")
    from tests.export.running import run_bundle

    given = flags(tmp_path / "expected", entries, optimizees)
    evaluations.write(tmp_path / "bundle", given, (2,), steps_per_call=3)
    first, second = tmp_path / "first", tmp_path / "second"
    run_bundle(tmp_path / "bundle", f"--out={first}", f"--advances={advances}")
    run_bundle(tmp_path / "bundle", f"--out={second}", f"--resume={first}")
    evaluations.take_back(second, str(tmp_path / "found"), lambda text: None)
    session.evaluate(given, lambda text: None)
    return results.stored(tmp_path / "found"), results.stored(tmp_path / "expected")


def assert_same(found, expected, rtol):
    assert found.keys() == expected.keys()
    for key, run in expected.items():
        assert found[key]._replace(losses=None) == run._replace(losses=None)
        np.testing.assert_allclose(found[key].losses[:5], run.losses[:5], rtol=rtol)
        np.testing.assert_allclose(found[key].losses, run.losses, rtol=20 * rtol)


@pytest.mark.slow
def test_runs_are_those_of_evaluate(tmp_path, learned):
    found, expected = run_and_take_back(tmp_path, [*learned, "adam:0.01"], advances=5)
    assert len(found) == 3 * NUM_SEEDS
    assert_same(found, expected, rtol=5e-7)
    for name in ("config.json", "table.txt"):
        assert files.read_bytes(tmp_path / "found" / name) == files.read_bytes(
            tmp_path / "expected" / name
        )
    assert (tmp_path / "found" / "mlp.png").exists()


@pytest.mark.slow
def test_convolutions_are_those_of_evaluate_to_rounding(tmp_path):
    found, expected = run_and_take_back(tmp_path, ["sgd:0.01"], ("conv_cifar",))
    assert_same(found, expected, rtol=1e-5)


def test_what_cannot_run_in_lanes_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match="Quadratic cannot run in lanes"):
        evaluations.write(tmp_path, flags(tmp_path, ["sgd:0.1"], ("quadratic",)), (2,))


def test_a_rate_that_is_not_tuned_is_refused(tmp_path):
    given = flags(tmp_path, ["tuned:adam"], tuned_dir=str(tmp_path / "tuned"))
    with pytest.raises(errors.InputError, match="l2o_tf.tune --rules=adam --optimizees=mlp"):
        evaluations.write(tmp_path, given, (2,))


def test_the_command_that_tunes_finds_the_rate_that_is_missing(tmp_path):
    given = dataclasses.replace(
        flags(tmp_path, ["tuned:adam"], ("mlp", "conv_mnist"), split="train[:50]"),
        optimizee_options='{"conv_mnist": {"relu_logits": true}}',
        tuned_dir=str(tmp_path / "tuned rates"),
        data_dir=str(tmp_path),
    )
    bench = workbench.Workbench(given, lambda text: None)
    for optimizee in given.optimizees:
        with pytest.raises(errors.InputError, match=f"on {optimizee} has no tuned") as refusal:
            evaluations.write(tmp_path, given, (2,))
        command_line = str(refusal.value).partition("run python -m ")[2]
        module, *words = shlex.split(command_line)
        assert module == "l2o_tf.tune"
        tune = cli.parse(config.TuneConfig, [module, *words])
        assert (tune.rules, tune.optimizees) == (("adam",), (optimizee,))
        assert (tune.num_seeds, tune.data_dir) == (2, str(tmp_path))
        found = workbench.Workbench(tune, lambda text: None).task(optimizee)
        assert found == bench.task(optimizee)
        # What it leaves there is what is looked for.
        record = tuning.Record(0.01, tune.num_seeds, {0.01: 1.0})
        tuning.Cache(tune.tuned_dir).add("adam", found, record)
        assert bench.known_rate("adam", optimizee) == 0.01


@pytest.mark.slow
def test_results_of_another_call_are_refused_with_one_line(tmp_path):
    pytest.importorskip("jax")
    from tests.export.running import refusal, run_bundle

    evaluations.write(tmp_path / "bundle", flags(tmp_path, ["sgd:0.1"]), (1,))
    out = tmp_path / "out"
    run_bundle(tmp_path / "bundle", f"--out={out}", "--lanes=0")
    before = (out / "evaluation.npz").read_bytes()
    line = refusal(tmp_path / "bundle", f"--out={out}", "--lanes=1")
    assert f"go on from them with --resume={out} --out={out}, or choose another --out" in line
    assert (out / "evaluation.npz").read_bytes() == before
    run_bundle(tmp_path / "bundle", f"--out={out}", f"--resume={out}", "--lanes=1")
    evaluations.take_back(out, str(tmp_path / "found"), lambda text: None)
    assert {run.seed for run in results.stored(tmp_path / "found").values()} == {3, 4}


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match="evaluation.npz"):
        evaluations.take_back(tmp_path, str(tmp_path / "runs"), lambda text: None)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--lanes=x", "--rules=sgd"], "--rules is for --what=evaluate or rule, not train"),
        (["--lanes=x", "--shapes=2"], "--shapes is for --what=rule, not train"),
        (["--lanes=x", "--results=y"], "one of --lanes=FILE and --results=DIR is needed"),
        (["--what=evaluate", "--rules=dm", "--lanes=x"], "--lanes is for --what=train"),
        (["--what=evaluate", "--rules=dm", "--blocks=2"], "--blocks is for --what=train"),
        (
            [*RULE, '--optimizee_options={"mlp": {}}'],
            "--optimizee_options is for --what=evaluate or",
        ),
        ([*SELECT, "--seed=5"], "--seed is for --what=evaluate, not select"),
        ([*SELECT, "--init_lr_range=1,1"], "--init_lr_range is for --what=evaluate or rule"),
        ([*SELECT, "--rules=dm"], "--rules is for --what=evaluate or rule, not select"),
        ([*SELECT, "--tuned_dir=x"], "--tuned_dir is for --what=evaluate, not select"),
        ([*RULE, "--num_steps=7"], "--num_steps is for --what=evaluate or select, not rule"),
        ([*RULE, "--nodata"], "--data is for --what=train or evaluate or select, not rule"),
        ([*RULE, "--results=x"], "--results is for --what=train or evaluate or select, not rule"),
        (["--results=x", "--widths=2"], "--widths is not for --results, which have it"),
        (["--what=select", "--results=x", "--runs=a"], "--runs is not for --results"),
        (["--what=evaluate"], "--rules=A,B is needed"),
        (["--what=rule", "--rules=dm"], "--what=rule needs --shapes"),
        (["--what=rule", "--rules=dm", "--shapes=2xa"], "--shapes=2xa must be such as"),
        (["--what=plot"], "must be one of train, evaluate, select, rule"),
    ],
)
def test_flags_that_do_not_fit_are_refused(words, message):
    with pytest.raises(errors.InputError, match=re.escape(message)):
        cli.parse(command.ExportConfig, ["export", "--out=bundle", *words])


@pytest.mark.parametrize(
    "words",
    [
        ["--lanes=x", "--widths=2", "--validation_width=3", "--blocks=4", "--nodata"],
        ["--what=evaluate", "--rules=scale", "--init_lr_range=1.0,1.0", "--seed=5"],
        [*SELECT, "--optimizees=mlp_relu", "--dataset=digits", "--split=train", "--num_seeds=3"],
        [*RULE, "--init_lr_range=0.001,0.001"],
        ["--what=select", "--results=x", "--data_dir=y"],
    ],
)
def test_flags_that_fit_are_taken(words):
    parsed = cli.parse(command.ExportConfig, ["export", "--out=bundle", *words])
    typed = core_flags.to_flags(parsed).split()
    assert set(typed) == {"--out=bundle", *words}
