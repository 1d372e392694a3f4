"""The scatter over training seeds against closed forms."""

import numpy as np
import pytest

from l2o_tf.benchmarks import spread
from l2o_tf.core import errors
from l2o_tf.evaluation import results


def run(label, seed, *logs):
    """A run of ten times as many steps, of which the last tenth has these ln losses."""
    before = np.full(9 * len(logs), 1e6)
    losses = np.concatenate([before, np.exp(logs)]).astype(np.float32)
    return results.Run(label, "mlp", "digits", "test", seed, losses)


def test_means_over_seeds_then_statistics_over_trainings():
    runs = [run("4_0", 0, -1, -3), run("4_0", 1, -4, -6), run("4_1", 0, -5, -6)]
    runs += [run("4_1", 1, -1, np.inf), run("4_2", 0, np.nan), run("own_rule_7", 0, 2)]
    losses = spread.finals(runs)
    expected = {"0": -3.5, "1": -5.5, "2": np.nan}
    assert losses["4", "mlp"] == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert losses["own_rule", "mlp"] == pytest.approx({"7": 2.0}, rel=1e-6)
    lines = [line.split() for line in spread.table(losses).splitlines()]
    assert lines[-2] == ["4", "mlp", "2/3", "-4.50", "1.41", "-5.50", "-3.50"]
    assert lines[-1] == ["own_rule", "mlp", "1/1", "2.00", "nan", "2.00", "2.00"]


def test_recipes_are_compared_over_the_seeds_that_both_have():
    finals = {
        ("plain", "mlp"): {"0": -1.0, "1": -2.0, "2": -5.0, "9": np.nan},
        ("il", "mlp"): {"2": -4.0, "1": -6.0, "0": -3.0, "7": -9.0, "9": -1.0},
        ("il", "mlp_relu"): {"0": -3.0},
    }
    lines = [line.split() for line in spread.differences(finals).splitlines()]
    # Differences -2, -4 and 1: mean -5/3, standard deviation sqrt(19/3).
    assert lines[1:] == [["il", "plain", "mlp", "3", "-1.67", "1.45", "2/3"]]
    assert not spread.differences({("il", "mlp"): {"0": -3.0, "1": -1.0}})


@pytest.mark.parametrize("label", ["dm", "_1", "dm_cl"])
def test_labels_without_a_seed_are_refused(label):
    with pytest.raises(errors.InputError, match="evaluate rules as RECIPE_SEED=RUN"):
        spread.finals([run(label, 0, 1.0)])
