"""The schedule of self-improving."""

import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import seeds
from l2o_tf.rules import mixture
from l2o_tf.training import curriculum, epochs, self_improving, trainer
from l2o_tf.training.plan import Plan
from tests.training import problems


@pytest.fixture
def mixed():
    teachers = [rules.from_spec(s) for s in ("adam:0.01", "sgd:0.1", "adagrad:0.01")]
    return mixture.PerStep(rules.create("dm", units=(3, 3)), teachers)


@pytest.mark.parametrize(
    "epoch, share", [(0, 0.75), (50, 0.375), (99, 0.0075), (100, 0.0), (101, 0.0)]
)
def test_the_share_of_three_rules_decays_linearly_to_zero(mixed, epoch, share):
    assert self_improving.analytical_share(epoch, 100, mixed.equal_share) == pytest.approx(share)


@pytest.mark.parametrize("first, shares", [(None, (0.75, 0.375, 0.0)), (1.0, (1.0, 0.5, 0.0))])
def test_a_recipe_says_with_which_share_the_teachers_begin(mixed, first, shares):
    """1/4 for each of three as in section 4.2 of the paper, 0.33 as in section 5.3."""
    made = trainer.Trainer(
        mixed.learned_rule,
        [problems.Bowl()],
        rules.from_spec("adam"),
        trainer.Recipe(
            curriculum.Schedule((4,), (4,), 1, math.inf),
            self_improving_epochs=100,
            self_improving_share=first,
        ),
        mixture=mixed,
        plan=Plan(4),
    )
    np.testing.assert_allclose([made._analytical_share(n) for n in (0, 50, 100)], shares)


def test_without_self_improving_no_step_is_an_analytical_rules(mixed):
    assert self_improving.analytical_share(0, 0, mixed.equal_share) == 0


@pytest.mark.parametrize("epoch", [0, 50, 100])
def test_an_epoch_follows_its_share(mixed, epoch):
    """The probabilities of the four rules at the start, half-way and at the end."""
    share = self_improving.analytical_share(epoch, 100, mixed.equal_share)
    expected = np.array([1 - share, share / 3, share / 3, share / 3])
    state = mixed.init([tf.ones([1])], seeds.make_seed(epoch, "test"))
    state = state._replace(share=tf.constant(share))
    num_draws = 10000
    draw_all = tf.function(lambda: tf.map_fn(lambda t: mixed.choice(state, t), tf.range(num_draws)))
    rates = np.bincount(draw_all(), minlength=4) / num_draws
    standard_error = np.sqrt(expected * (1 - expected) / num_draws)
    assert np.all(np.abs(rates - expected) <= 3 * standard_error)


def test_a_mixed_epoch_has_the_help_of_its_share():
    hardly_learned = rules.from_spec("sgd:0.0001")
    mixed = mixture.PerStep(
        hardly_learned, [rules.from_spec("adam:0.1"), rules.from_spec("sgd:0.1")]
    )
    compiled = epochs.Epochs(
        hardly_learned,
        problems.SmallQuadratic(tf.float32),
        rules.from_spec("adam:0.00001"),
        mixture=mixed,
        plan=Plan(4),
        with_xla=False,
    )
    meta = compiled.initial_state(hardly_learned.weights())
    arguments = meta, seeds.make_seed(0, "test"), tf.constant(3)
    alone = compiled.train_mixture(*arguments, tf.constant(0.0))
    helped = compiled.train_mixture(*arguments, tf.constant(0.75))
    assert helped.losses[-1] < 0.9 * alone.losses[-1]
    assert compiled.train_mixture.experimental_get_tracing_count() == 1
