"""What rules add to updates where there is no gradient: of coordinates, or of whole units."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import coordinates, errors, seeds
from l2o_tf.evaluation import response
from l2o_tf.rules import hierarchical_rnn

SMALL_LSTM = {"units": (4, 3)}
SMALL_GRUS = {"level_sizes": (3, 2, 2), "init_lr_range": (1e-2, 1e-2)}
RULES = {
    "dm": ("dm", SMALL_LSTM),
    "dm_centered": ("dm", {**SMALL_LSTM, "centered": True}),
    "rnnprop": ("rnnprop", SMALL_LSTM),
    "rnnprop_centered": ("rnnprop", {**SMALL_LSTM, "centered": True}),
    "scale": ("scale", SMALL_GRUS),
    "scale_attention": ("scale", {**SMALL_GRUS, "use_attention": True}),
}
each_rule = pytest.mark.parametrize("name, options", RULES.values(), ids=RULES)

# A dense kernel with an input that is 0 and a unit without a gradient, one of a convolution whose
# second unit has a gradient at one coordinate only, a bias, and a number.
KERNEL = [[1.0, 0, -2], [0, 0, 0], [3, -0.0, 1e-3]]
CONVOLUTION = np.zeros([2, 2, 1, 2])
CONVOLUTION[1, 0, 0, 1] = 1e-30
GRADS = [KERNEL, CONVOLUTION, [0.0, 1.0], 0.0]
PARAMS = [tf.zeros(np.shape(g)) for g in GRADS]
WHERE = {
    "coordinates": [np.equal(g, 0) for g in GRADS],
    "units": [
        [[False, True, False]] * 3,
        np.broadcast_to([True, False], [2, 2, 1, 2]),
        [True, False],
        True,
    ],
}


def make(name, options, **drift):
    return rules.create(name, seed=seeds.make_seed(5, "rule"), **options, **drift)


def move(rule):
    """The updates of the first step, and those of what is scored."""
    grads = [tf.constant(g, tf.float32) for g in GRADS]
    updates, state = rule.update(grads, rule.init(PARAMS), PARAMS)
    return updates, rule.true_params(updates, state)


@each_rule
@pytest.mark.parametrize("of", WHERE)
def test_a_drift_is_added_where_there_is_no_gradient(name, options, of):
    still, still_scored = move(make(name, options))
    drifting, scored = move(make(name, options, drift=0.25, drift_of=of))
    for i, where in enumerate(WHERE[of]):
        added = 0.25 * np.asarray(where, float)
        np.testing.assert_allclose(drifting[i] - still[i], added, atol=1e-7)
        np.testing.assert_allclose(scored[i] - still_scored[i], added, atol=1e-7)


@each_rule
@pytest.mark.parametrize("of", WHERE)
def test_replayed_updates_drift_alike(name, options, of):
    rule = make(name, options, drift=0.25, drift_of=of)
    random = np.random.default_rng(1)
    grads = []
    for p in PARAMS:
        some = random.uniform(size=[5, *p.shape]) > 0.6
        grads.append(tf.constant(random.normal(size=some.shape) * some, tf.float32))
    state, expected = rule.init(PARAMS), []
    for t in range(5):
        updates, state = rule.update([g[t] for g in grads], state, PARAMS)
        expected.append(coordinates.flatten(updates))
    replayed, _ = rule.replay(grads, rule.init(PARAMS), PARAMS)
    np.testing.assert_allclose(coordinates.flatten(replayed, leading=1), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["dm", "rnnprop"])
@pytest.mark.parametrize("of", WHERE)
def test_it_is_all_that_a_centered_rule_does_without_a_gradient(name, of):
    rule = make(name, RULES[f"{name}_centered"][1], drift=0.25, drift_of=of)
    assert response.measure(rule, (1e-3,), 20).drift == 0.25


@each_rule
def test_the_options_are_kept_with_a_rule(name, options):
    plain = make(name, options)
    assert not {"drift", "drift_of"} & set(plain.options())
    drift = {"drift": 1e-3, "drift_of": "units"}
    expected = {**plain.options(), **drift}
    for rule in (make(name, options, **drift), rules.with_options(plain, **drift)):
        assert rule.options() == expected
    assert rules.create(name, **expected).options() == expected
    coordinatewise = make(name, options, drift=1e-3, drift_of="coordinates")
    assert coordinatewise.options() == {**plain.options(), "drift": 1e-3}  # As in older cards.
    # Of what there is no drift is nothing that a card, or a legacy file, would have to hold.
    assert (
        rules.with_options(rules.create(name, **expected), drift=0.0).options() == plain.options()
    )


@each_rule
def test_it_is_of_coordinates_or_units(name, options):
    with pytest.raises(errors.InputError, match="drift_of 'rows' is unknown: choose one of coord"):
        make(name, options, drift=1e-3, drift_of="rows")


def test_options_without_a_drift_are_those_of_the_legacy_class():
    assert not {"drift", "drift_of"} & set(hierarchical_rnn.HierarchicalRNN().options())
