import math

import numpy as np
import pytest

from l2o_tf.keras_evaluation import scores


def exponential(rate):
    return scores.Curve(np.exp(-rate * np.arange(1, 201)), 1, 200)


def test_a_rule_that_is_twice_as_fast_has_a_speed_up_of_two():
    assert scores.speed_up(exponential(0.02), exponential(0.01)) == 2
    assert scores.speed_up(exponential(0.01), exponential(0.02)) == 0.5
    assert scores.speed_up(exponential(0.01), exponential(0.01)) == 1


def test_the_baseline_is_its_lower_envelope():
    # It is at 0.3 after 2 steps and goes up again; the rule is at 0.3 after 4 of 4 steps.
    baseline = scores.Curve(np.array([1.0, 0.3, 0.9, 0.8]), 1, 4)
    rule = scores.Curve(np.array([1.0, 0.9, 0.8, 0.3]), 1, 4)
    assert scores.speed_up(rule, baseline) == 1
    # That it ends at 0.31, which the baseline passes at step 2, makes it half as fast.
    assert scores.speed_up(rule._replace(losses=rule.losses + 0.01), baseline) == 0.5


def test_divergence_counts_as_no_speed():
    gone = scores.curve([[1.0, 0.5], [1.0]], 2)
    assert gone.diverged and gone.final == math.inf
    assert scores.speed_up(gone, exponential(0.1)) == 0
    assert scores.speed_up(exponential(0.1), gone) == math.inf
    assert scores.curve([[1.0, 0.5, 2.1]], 3).diverged
    assert not scores.curve([[1.0, 0.5, 1.9]], 3).diverged  # Minibatches differ.


def test_runs_without_any_loss_have_diverged():
    """As all of a task do whose first loss is not finite."""
    gone = scores.curve([[], []], 0)
    assert gone.diverged and gone.final == math.inf
    assert scores.speed_up(gone, gone) == 0


def test_a_high_loss_hides_none_that_follow():
    losses = np.exp(-0.05 * np.arange(200))
    losses[30] = 1e18
    found = scores.curve([losses], 200)
    assert not found.diverged
    expected = [losses[i - 10 : i].mean() for i in range(41, 201)]
    np.testing.assert_allclose(found.losses[31:], expected, rtol=1e-12)


def test_a_loss_below_zero_that_falls_has_not_diverged():
    """Such as a cosine similarity, which Keras' loss takes the negative of."""
    falls, rises = np.linspace(-0.6, -0.95, 100), np.linspace(-0.6, 0.8, 100)
    found = scores.curve([falls], 100)
    assert not found.diverged and found.final == pytest.approx(falls[-5:].mean())
    assert scores.curve([falls, rises], 100).diverged
    assert not scores.curve([np.linspace(-0.6, -0.1, 100)], 100).diverged
    assert scores.speed_up(found, scores.curve([falls + 0.1], 100)) > 1
    assert not scores.curve([[0.0, 0.0, 0.0]], 3).diverged


def test_a_curve_is_the_trailing_mean_of_the_mean_over_seeds():
    first, second = np.linspace(9, 1, 40), np.linspace(7, 3, 40)
    found = scores.curve([first, second], 40)
    mean = (first + second) / 2
    assert found.window == 2 and len(found.losses) == 39
    np.testing.assert_allclose(found.losses, (mean[1:] + mean[:-1]) / 2, rtol=1e-12)
    assert found.final == pytest.approx(mean[-2:].mean())
    # The first mean that is as low as the 20th is that of steps 20 and 21, counted from 1.
    assert scores.steps_to(found, found.losses[19]) == 21
    assert scores.steps_to(found, 0.0) is None


def test_the_interquartile_mean_leaves_out_a_quarter_on_each_side():
    found = scores.interquartile_mean([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0])
    assert found.mean == (2 + 3 + 4 + 5) / 4
    assert found.low < found.mean < found.high
    assert scores.interquartile_mean([1.5] * 5) == (1.5, 1.5, 1.5)


def test_the_bootstrap_interval_is_that_of_a_normal_mean():
    # The interquartile mean of n normal numbers has a standard deviation of 1.09 / sqrt(n).
    values = np.random.default_rng(1).normal(3, 1, 400)
    found = scores.interquartile_mean(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 1.09 / 20, rel=0.15)


def test_one_setting_for_all_tasks_has_the_best_mean_rank():
    finals = {
        "a": {"x": 1.0, "y": 5.0, "z": 3.0},
        "b": {"x": 2.0, "y": 4.0, "z": 2.0},
        "c": {"x": 3.0, "y": math.inf, "z": 1.0},
    }
    # Mean ranks 2, 5 / 3 and 7 / 3.
    assert scores.calibrated(finals) == "b"
    assert scores.best({"a": 2.0, "b": math.inf, "c": 1.0}) == "c"
