"""The worked example of docs/extending.md: a plug-in, from its training to Keras."""

import csv
import dataclasses
import importlib
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import LearnedOptimizer, cli, loading, optimizees, rules
from l2o_tf.core import errors, plugins
from l2o_tf.evaluation import results
from l2o_tf.evaluation.config import EvaluateConfig, SelectConfig, TuneConfig
from l2o_tf.optimizees.base import OPTIMIZEES
from l2o_tf.rules.base import RULES
from l2o_tf.run import build
from l2o_tf.run.config import TrainConfig
from l2o_tf.training import estimators, evolution

REPOSITORY = pathlib.Path(__file__).parents[1]
GUIDE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
CONFIGS = {
    "train": TrainConfig,
    "tune": TuneConfig,
    "evaluate": EvaluateConfig,
    "select": SelectConfig,
}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


TRAIN, TUNE, EVALUATE = blocks("bash")[0].splitlines()
SELECT = (
    "python -m l2o_tf.select --plugins=my_file --runs=runs/sign_average --num_steps=50"
    " --num_seeds=1 --optimizees=least_squares --jobs=2 --workdir=runs/selected"
)


def write_plugin(folder):
    (folder / "my_file.py").write_text("\n".join(blocks("python")))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The guide's plug-in in the current directory; its names do not outlive the test."""
    for registry in (RULES, OPTIMIZEES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    write_plugin(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("my_file", None)  # Of another test of the same process.
    yield tmp_path
    sys.modules.pop("my_file", None)


def forget_the_plugin():
    """As if this were another process."""
    for registry, names in ((RULES, ("sign_average", "sign")), (OPTIMIZEES, ("least_squares",))):
        for name in names:
            del registry._entries[name]
    del sys.modules["my_file"]


def run(command):
    """What a line of the guide does, in this process."""
    _, _, module, *arguments = shlex.split(command)
    name = module.removeprefix("l2o_tf.")
    main = importlib.import_module(module).main
    return main(cli.parse(CONFIGS[name], [name, *arguments]))


@pytest.mark.slow
def test_a_plugin_goes_through_all_commands_and_into_keras(folder, capsys):
    run(TRAIN)
    with open("runs/sign_average/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["kind"] for row in rows} >= {"meta_loss", "imitation", "validation"}
    trained, new = loading.load("runs/sign_average"), rules.create("sign_average")
    assert type(trained) is type(new)
    assert trained.weights()["log_rate"] > new.weights()["log_rate"] + 0.5

    run(TUNE)
    assert "sign on least_squares: learning rate 0." in capsys.readouterr().out
    run(EVALUATE)
    losses = {
        (stored.rule, stored.seed): stored.losses for stored in results.load("runs/evaluation")
    }
    assert {rule for rule, _ in losses} == {"sign_average", "tuned:sign", "adam:0.1"}
    assert len(losses) == 6
    for seed in (0, 1):  # The least of its mean is 1, at 0.
        assert losses["sign_average", seed][-10:].mean() < 1.2 < losses["sign_average", seed][0]

    config = LearnedOptimizer("runs/sign_average").get_config()
    forget_the_plugin()
    needed = "the plug-in my_file registers it: add --plugins=my_file, or import it in Python"
    for use, what in (
        (lambda: loading.load("runs/sign_average"), "the rule in runs/sign_average cannot be used"),
        (lambda: run(EVALUATE.replace("--plugins=my_file ", "")), "the rule in runs/sign_average"),
        (lambda: LearnedOptimizer.from_config(config), "unknown update rule 'sign_average'"),
    ):
        with pytest.raises(errors.InputError) as raised:
            use()
        assert str(raised.value).startswith(what) and str(raised.value).endswith(needed)
    with pytest.raises(errors.InputError) as raised:
        run(TRAIN.replace("--plugins=my_file ", ""))
    assert str(raised.value) == (
        "the run in runs/sign_average needs the plug-in my_file: add --plugins=my_file"
    )
    assert "my_file" not in sys.modules  # No file has caused an import.

    run(TRAIN)  # Resumes, with the plug-in.
    assert "runs/sign_average is done" in capsys.readouterr().err
    restored = LearnedOptimizer.from_config(config)
    np.testing.assert_array_equal(
        restored.rule_weights()["log_rate"], trained.weights()["log_rate"]
    )


def test_short_forms_name_a_class_and_a_function(folder):
    assert rules.find("my_file:SignAverage") == "sign_average"
    assert rules.recipe("my_file:SignAverage") == (10000, 100)
    assert optimizees.default_dataset("my_file:make") is None
    assert optimizees.default_dataset("least_squares") is None
    with pytest.raises(errors.InputError, match="my_file has no Class 'No'; define a class No of"):
        rules.find("my_file:No")
    with pytest.raises(errors.InputError, match="my_file:LeastSquares is no registered rule: put"):
        rules.find("my_file:LeastSquares")


def test_a_function_says_which_data_it_is_for(folder):
    (folder / "my_file.py").write_text(
        "def plain(dataset): pass\n"
        "def coloured(dataset): pass\ncoloured.dataset = 'cifar10'\n"
        "def without(dataset): pass\nwithout.dataset = None\n"
    )
    found = [optimizees.default_dataset(f"my_file:{n}") for n in ("plain", "coloured", "without")]
    assert found == ["mnist", "cifar10", None]


def test_the_teacher_of_the_guide(folder):
    plugins.load(["my_file"])
    updates, _ = rules.from_spec("sign:0.5").update(
        [tf.constant([3.0, -2.0, 0.0])], (), [tf.zeros([3])]
    )
    np.testing.assert_array_equal(updates[0], [-0.5, 0.5, 0.0])
    assert "sign" in rules.tunable_names() and "sign_average" in rules.learned_names()


def test_an_estimator_is_given_the_flags_that_it_asks_for(monkeypatch):
    table = estimators.ESTIMATORS
    monkeypatch.setattr(table, "_entries", dict(table._entries))

    @estimators.register("mine", flags={"pairs": "evolution_pairs"})
    @dataclasses.dataclass
    class Mine(estimators.Estimator):
        pairs: int

    flags = (
        {"second_derivatives": True},
        {"estimator": "es", "evolution_pairs": 3, "evolution_stddev": 0.5},
        {"estimator": "mine", "evolution_pairs": 5},
    )
    made = [build.estimator(TrainConfig(**given)) for given in flags]
    assert made == [estimators.Backprop(True), evolution.TruncatedES(3, 0.5), Mine(5)]


@pytest.mark.slow
def test_the_installed_package_takes_a_plugin_from_another_directory(tmp_path):
    write_plugin(tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def call(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    home = call("-c", "import l2o_tf; print(l2o_tf.__file__)").stdout.strip()
    if pathlib.Path(home).parents[1:2] != (REPOSITORY,):
        environment["PYTHONPATH"] = str(REPOSITORY)  # What is installed is another checkout.

    for command in (TRAIN, TUNE, EVALUATE, TRAIN, SELECT):
        done = call(*shlex.split(command)[1:])
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "selected" / "rule.npz").exists()
    refused = call(*shlex.split(EVALUATE.replace("--plugins=my_file ", ""))[1:])
    assert refused.returncode == 2 and "add --plugins=my_file" in refused.stderr
    environment["L2O_TF_PLUGINS"] = "my_file"
    short = TRAIN.replace("--plugins=my_file ", "").replace("--max_train_steps=1600", "")
    short = short.replace("=sign_average", "=my_file:SignAverage").replace("runs/sign_", "runs/my_")
    done = call(*shlex.split(short)[1:], "--max_train_steps=100")
    assert done.returncode == 0, done.stderr
    keras = (
        "import my_file, l2o_tf, keras, numpy; m = keras.Sequential([keras.Input([3]),"
        " keras.layers.Dense(1)]);"
        " m.compile(l2o_tf.LearnedOptimizer('runs/my_average'), loss='mse');"
        " m.fit(numpy.ones([8, 3]), numpy.ones([8, 1]), verbose=0); m.save('model.keras');"
        " print(keras.models.load_model('model.keras').optimizer.get_config()['rule']['plugin'])"
    )
    done = call("-c", keras)
    assert done.returncode == 0 and done.stdout.split()[-1] == "my_file", done.stderr


def test_the_guide_names_files_that_exist():
    for path in re.findall(r"`((?:l2o_tf|tests)/[\w/]+\.py)`", GUIDE):
        assert (REPOSITORY / path).exists(), path
