"""What every trained rule in the package promises."""

import keras
import numpy as np
import pytest

import l2o_tf
from l2o_tf import artifacts, loading
from l2o_tf.core import files
from l2o_tf.data import datasets


@pytest.mark.parametrize("name", l2o_tf.list_pretrained())
def test_its_card_says_where_it_comes_from_and_what_it_reaches(name):
    card = files.read_json(loading.PRETRAINED / name / artifacts.RULE_CARD)
    for key in ("training", "commit", "results", "licence", "fit_for"):
        assert card.get(key), f"the card of {name} has no {key}"


# Its steps have a root mean square of a thousandth.
NUM_EPOCHS = {"mlp": 20, "mlp_full": 20}


def quick_if_first(name):
    """The rule to start with is quick."""
    return name if name == "rnnprop_cl_il" else pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [quick_if_first(n) for n in l2o_tf.list_pretrained()])
def test_it_trains_a_network_in_keras(name):
    data = datasets.load("digits", "train")
    images, labels = data.images * np.float32(data.scale), data.labels
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dense(20, "sigmoid"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(l2o_tf.LearnedOptimizer(name), loss)
    before = model.evaluate(images, labels, verbose=0)
    model.fit(images, labels, batch_size=64, epochs=NUM_EPOCHS.get(name, 5), verbose=0)
    assert model.evaluate(images, labels, verbose=0) < 0.5 * before


NAMED_LIKE_ONE = [
    name
    if name in ("dm", "mlp", "rnnprop", "scale")
    else pytest.param(name, marks=pytest.mark.slow)
    for name in l2o_tf.list_pretrained()
]


@pytest.mark.parametrize("name", NAMED_LIKE_ONE)
def test_its_name_means_its_weights_also_where_an_architecture_is_called_so(name):
    expected = l2o_tf.load(name).weights()
    found = l2o_tf.LearnedOptimizer(name).rule_weights()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)
