import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.optimizees.scale import datasets
from tests import reference

RECORDED = {
    "random_binary_20_10_s3": lambda: datasets.random_binary(20, 10, seed=3),
    "random_symmetric_12_10_s3": lambda: datasets.random_symmetric(12, 10, seed=3),
    "random_mlp_8_50_s3": lambda: datasets.random_mlp(8, 50, seed=3),
    "noisy_parity_5_s123": lambda: datasets.noisy_parity_class(5, seed=123),
    "random_10_40_s123_sep2": lambda: datasets.random(10, 40, separation=2.0, seed=123),
}


@pytest.mark.parametrize("name", RECORDED)
def test_data_are_those_of_the_legacy_code(name):
    golden = reference.arrays("golden/scale/problems.npz")
    examples = RECORDED[name]()
    assert examples.data.dtype == np.float32 and examples.labels.dtype == np.int32
    np.testing.assert_array_equal(examples.data, golden[f"dataset|{name}|data"])
    np.testing.assert_array_equal(examples.labels, golden[f"dataset|{name}|labels"].reshape(-1))


@pytest.mark.parametrize(
    "num_features,num_classes,num_examples",
    [(2, 2, 30), (3, 3, 41), (6, 3, 43), (30, 5, 50), (31, 5, 50), (256, 2, 1000)],
)
def test_random_is_make_classification(num_features, num_classes, num_examples):
    # Every way in which the corners are drawn: all of them, a permutation, tries, two halves.
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    data, labels = sklearn_datasets.make_classification(
        n_samples=num_examples,
        n_features=num_features,
        n_informative=num_features,
        n_redundant=0,
        n_classes=num_classes,
        class_sep=1.5,
        random_state=7,
    )
    ours = datasets.random(num_features, num_examples, num_classes, 1.5, seed=7)
    np.testing.assert_allclose(ours.data, data, rtol=1e-6)
    np.testing.assert_array_equal(ours.labels, labels)


def test_parity_labels_are_wrong_as_often_as_the_noise_says():
    examples = datasets.noisy_parity_class(20000, num_classes=3, num_ids=4, seed=1)
    shift = (examples.labels - examples.data.sum(axis=1)) % 3
    assert set(shift) == {0, 1}
    np.testing.assert_allclose(shift.mean(), 0.25, atol=0.015)


def test_derived_seeds_differ():
    derived = {datasets.derive_seed(a, b) for a in range(20) for b in range(20)}
    assert len(derived) == 400
    assert all(0 <= seed < 2**32 for seed in derived)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: datasets.random(2, 10, num_classes=3), "2 features cannot hold 6 clusters"),
        (lambda: datasets.random_symmetric(3, 5), "even number"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(errors.InputError, match=message):
        call()
