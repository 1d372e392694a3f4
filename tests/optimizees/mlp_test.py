"""The perceptrons of the paper against NumPy, from raw pixels on, and how they start."""

import numpy as np
import pytest
from scipy import stats

from l2o_tf import optimizees
from l2o_tf.core import seeds
from l2o_tf.data import datasets

BATCH_SIZE = 7
STDDEV = 0.01
ONE_HIDDEN = [(64, 20), (20,), (20, 10), (10,)]
TWO_HIDDEN = [(64, 20), (20,), (20, 20), (20,), (20, 10), (10,)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rectified(x):
    return np.maximum(x, 0)


EACH = pytest.mark.parametrize(
    "name, shapes, activation",
    [
        ("mlp", ONE_HIDDEN, sigmoid),
        ("mlp_relu", ONE_HIDDEN, rectified),
        ("mlp_deeper", TWO_HIDDEN, sigmoid),
    ],
)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@EACH
def test_logits_and_loss_are_those_of_numpy(digits, name, shapes, activation):
    optimizee = optimizees.create(name, digits, batch_size=BATCH_SIZE)
    rng = np.random.default_rng(0)
    # In float64, and so large that activations bend and differ.
    params = [rng.normal(size=shape) for shape in shapes]
    indices = rng.integers(0, len(digits.labels), BATCH_SIZE)
    outputs = digits.images[indices].reshape(BATCH_SIZE, 64) / 16
    *hidden, (last, bias) = zip(params[::2], params[1::2])
    for w, b in hidden:
        outputs = activation(outputs @ w + b)
    logits = outputs @ last + bias
    batch = optimizee.gather(indices)
    np.testing.assert_allclose(optimizee.logits(params, batch.images), logits, rtol=1e-10)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    of_labels = probabilities[np.arange(BATCH_SIZE), digits.labels[indices]]
    loss = optimizee.loss(params, batch)
    np.testing.assert_allclose(loss, -np.log(of_labels).mean(), rtol=1e-10)


@EACH
def test_all_parameters_start_at_a_standard_deviation_of_a_hundredth(
    digits, name, shapes, activation
):
    params = optimizees.create(name, digits).init(seeds.make_seed(3, "test"))
    assert [p.shape for p in params] == shapes
    # The squares of n standard normal numbers add up to chi2(n), the numbers to N(0, n): each of
    # these pairs of bounds fails for one of 4 million seeds. For a whole network they are at most
    # 9.5 % from the standard deviation (5.2 of its own, which are 1 / sqrt(2 n) of it, n >= 1510);
    # for a bias of 10 numbers they still exclude 0.
    for values in [np.concatenate([np.ravel(p) for p in params]), *map(np.ravel, params)]:
        normal = values / STDDEV
        low, high = stats.chi2.ppf([1e-7, 1 - 1e-7], normal.size)
        assert low < np.sum(normal**2) < high
        assert abs(np.sum(normal)) < 5.5 * np.sqrt(normal.size)
