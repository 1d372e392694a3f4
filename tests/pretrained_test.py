"""What every trained rule in the package promises."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import l2o_tf
from l2o_tf import artifacts, files, loading


@pytest.mark.parametrize("name", l2o_tf.list_pretrained())
def test_its_card_says_where_it_comes_from_and_what_it_reaches(name):
    card = files.read_json(loading.PRETRAINED / name / artifacts.RULE_CARD)
    for key in ("training", "commit", "results", "licence"):
        assert card.get(key), f"the card of {name} has no {key}"


@pytest.mark.parametrize("name", l2o_tf.list_pretrained())
def test_it_goes_downhill_in_keras(name):
    variable = keras.Variable(np.linspace(-1, 1, 50, dtype=np.float32))
    optimizer = l2o_tf.LearnedOptimizer(name)
    for _ in range(100):
        optimizer.apply_gradients([(2 * tf.convert_to_tensor(variable), variable)])
    assert np.square(variable.numpy()).sum() < 0.8 * np.square(np.linspace(-1, 1, 50)).sum()
