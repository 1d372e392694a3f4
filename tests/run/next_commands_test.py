"""The commands that are shown after a training."""

import shlex

import pytest

from l2o_tf import cli
from l2o_tf.evaluation.config import EvaluateConfig, SelectConfig
from l2o_tf.run import next_commands
from l2o_tf.run.config import TrainConfig

RULE = """\
import l2o_tf

@l2o_tf.rules.register("{name}")
class Mine(l2o_tf.rules.UpdateRule):
    learned = True
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_next_rule.py").write_text(RULE.format(name="next_rule"))
    return "my_next_rule"


def parsed(config_class, text):
    _, _, rest = text.splitlines()[0].partition("python -m ")
    return cli.parse(config_class, shlex.split(rest))


def test_the_evaluation_of_a_run(plugin):
    run = TrainConfig(
        rule=f"{plugin}:Mine",
        optimizee=("mlp", "mlp_relu"),
        optimizee_options='{"mlp": {}}',
        dataset="digits",
        workdir="my run",
    )
    text = next_commands.after_run(run)
    found = parsed(EvaluateConfig, text)
    assert found.rules == ("my run", "tuned:adam", "tuned:sgd")
    assert (found.optimizees, found.dataset) == (("mlp", "mlp_relu"), "digits")
    assert (found.plugins, found.optimizee_options) == ((plugin,), '{"mlp": {}}')
    assert found.workdir == "my run/evaluation" and "--data_dir" not in text
    assert text.splitlines()[1] == "  tensorboard --logdir='my run'"


def test_the_selection_among_seeds(plugin):
    run = TrainConfig(
        plugins=(plugin,),
        optimizee=("mlp",),
        optimizee_options='{"mlp": {}}',
        data_dir="a, b",
        workdir="runs/x",
    )
    found = parsed(SelectConfig, next_commands.after_seeds(run))
    assert (found.runs, found.workdir) == (("runs/x",), "runs/x_selected")
    assert (found.optimizees, found.plugins) == (("mlp",), (plugin,))
    assert found.optimizee_options == '{"mlp": {}}'
    assert (found.dataset, found.data_dir) == ("mnist", "a, b")
