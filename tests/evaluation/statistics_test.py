"""Windows and statistics over seeds against closed forms."""

import math

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.evaluation import results, statistics


def test_windows_of_a_heavy_tailed_curve():
    losses = np.random.default_rng(0).lognormal(-3.0, 2.0, size=[2, 257]).astype(np.float32)
    log_of_mean, mean_of_log = statistics.log_of_mean(losses), statistics.mean_of_log(losses)
    assert log_of_mean.shape == mean_of_log.shape == (2, 2)
    for row in range(2):
        for index in range(2):
            part = [float(loss) for loss in losses[row, 100 * index : 100 * index + 100]]
            log = math.log(math.fsum(part) / 100)
            assert log_of_mean[row, index] == pytest.approx(log, abs=1e-12)
            mean = math.fsum(math.log(loss) for loss in part) / 100
            assert mean_of_log[row, index] == pytest.approx(mean, abs=1e-12)
    # The lognormal's gap is sigma^2 / 2 = 2: the reason why both are reported.
    assert (log_of_mean - mean_of_log > 0.8).all()
    np.testing.assert_array_equal(statistics.window_ends(257), [100, 200])
    assert statistics.mean_of_log(losses[0, :99]).shape == (0,)


def test_zero_negative_and_not_finite_losses():
    ones = np.ones(100, np.float32)
    cases = {"zero": 0.0, "negative": -1.0, "nan": np.nan, "inf": np.inf, "tiny": 1e-30}
    curves = {name: np.where(np.arange(100) == 7, value, ones) for name, value in cases.items()}
    means = {name: statistics.mean_of_log(curve)[0] for name, curve in curves.items()}
    assert means["zero"] == pytest.approx(math.log(1e-10) / 100)
    assert means["tiny"] == pytest.approx(math.log(1e-30) / 100)
    assert means["negative"] == pytest.approx(2 * math.log(1e-10) / 100)
    assert np.isnan([means["nan"], means["inf"]]).all()
    logs = {name: statistics.log_of_mean(curve)[0] for name, curve in curves.items()}
    assert logs["zero"] == pytest.approx(math.log(0.99))
    assert logs["negative"] == pytest.approx(math.log(0.98))
    assert np.isnan([logs["nan"], logs["inf"]]).all()
    assert statistics.log_of_mean(np.zeros(100))[0] == pytest.approx(math.log(1e-10))
    assert statistics.log_of_mean(-ones)[0] == pytest.approx(2 * math.log(1e-10))
    # Only its own window is lost.
    assert statistics.mean_of_log(np.append(curves["nan"], ones))[1] == 0.0


def test_ln_goes_on_below_zero():
    losses = np.array([1.0, 1e-10, 0.0, -1e-10, -1.0, -math.e])
    ln = statistics.ln(losses)
    zero = math.log(1e-10)
    expected = [0.0, zero, zero, zero - math.log(2), 2 * zero, 2 * zero - 1]
    np.testing.assert_allclose(ln, expected, atol=1e-9)
    assert (np.diff(ln) <= 0).all(), "lower losses never count more"
    assert statistics.ln(losses, zero=1e-3)[2] == pytest.approx(math.log(1e-3))


def test_the_score_is_the_mean_log_of_the_last_tenth():
    losses = np.concatenate([np.full(90, 7.0), np.exp(np.arange(10.0))]).astype(np.float32)
    assert statistics.score(losses, 1e-10) == pytest.approx(4.5)
    assert statistics.score(losses[-5:], 1e-10) == pytest.approx(9.0)  # At least one step.
    losses[3] = np.nan
    assert statistics.score(losses, 1e-10) == math.inf


def test_the_score_counts_losses_from_0_to_the_floor_alike():
    scores = [
        statistics.score(np.full(10, loss, np.float32), 1e-3) for loss in (1e-3, 1e-30, 0.0, -1e-3)
    ]
    ln_floor = math.log(1e-3)
    assert scores == pytest.approx([ln_floor, ln_floor, ln_floor, ln_floor - math.log(2)])


def test_large_losses_do_not_overflow():
    losses = np.full(100, np.finfo(np.float32).max)
    assert statistics.log_of_mean(losses)[0] == pytest.approx(88.7228, abs=1e-4)


def test_over_seeds_with_missing_and_short_seeds():
    values = [np.array([1.0, 2.0, 3.0]), np.array([3.0, np.nan]), np.array([8.0, 6.0])]
    mean, sd, count = statistics.over_seeds(values)
    np.testing.assert_allclose(mean, [4.0, 4.0, 3.0], rtol=1e-15)
    np.testing.assert_allclose(sd, [math.sqrt(13.0), math.sqrt(8.0), np.nan], rtol=1e-15)
    np.testing.assert_array_equal(count, [3, 2, 1])
    empty = statistics.over_seeds([np.array([np.nan])])
    assert np.isnan(empty.mean[0]) and np.isnan(empty.sd[0]) and empty.num_seeds[0] == 0


def test_runs_on_different_data_do_not_mix():
    one = results.Run("dm", "mlp", "mnist", "test", 0, np.ones(100, np.float32))
    with pytest.raises(errors.InputError, match="mix the data mnist/test and mnist/train"):
        statistics.group([one, one._replace(split="train")])
