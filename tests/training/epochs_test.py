"""Whole epochs, with gradient descent as the rule to train: its learning rate is a weight."""

import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import seeds
from l2o_tf.training import epochs, estimators, evolution
from l2o_tf.training.plan import Plan
from tests.training import problems

RATE, UNROLL_LENGTH, NUM_UNROLLS = 0.1, 4, 6
SEED = seeds.make_seed(0, "test")


def make(**options):
    return epochs.Epochs(
        rules.from_spec(f"sgd:{RATE}"),
        problems.Bowl(),
        rules.from_spec("adam:0.001"),
        rules.from_spec("sgd:0.2"),
        plan=Plan(UNROLL_LENGTH),
        **options,
    )


def run(epoch, compiled, *arguments):
    meta = compiled.initial_state(rules.from_spec(f"sgd:{RATE}").weights())
    return epoch(meta, SEED, tf.constant(NUM_UNROLLS), *arguments)


@pytest.mark.parametrize("with_xla", [True, False])
def test_a_validation_has_the_closed_form_of_gradient_descent(with_xla):
    weights = rules.from_spec(f"sgd:{RATE}").weights()
    result = make(with_xla=with_xla).validate(weights, SEED, tf.constant(NUM_UNROLLS))
    t = np.arange(UNROLL_LENGTH * NUM_UNROLLS + 1)[:, None]
    c = problems.BOWL_CURVATURES
    params = (1 - RATE * c) ** t * problems.BOWL_START
    losses = np.sum(c * params**2, axis=1) / 2
    by_unroll = losses[:-1].reshape(NUM_UNROLLS, UNROLL_LENGTH)
    np.testing.assert_allclose(result.losses, by_unroll.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(result.final_loss, losses[-1], rtol=1e-5)
    sizes = np.abs(RATE * c * params)[:-1].reshape(NUM_UNROLLS, UNROLL_LENGTH, -1)
    np.testing.assert_allclose(result.update_sizes, sizes.mean(axis=1), rtol=1e-5)


class Scored(problems.Bowl):
    """A bowl whose minibatches lift the loss by 1, its scoring examples by what is drawn."""

    def batch(self, seed, step):
        return tf.constant(1.0)

    def scoring_batch(self, seed, size):
        return size + seeds.uniform(seed, [])

    def loss(self, params, batch):
        return super().loss(params, ()) + batch


def test_the_end_of_a_validation_is_scored_on_the_scoring_examples_of_the_last_unroll():
    sgd, adam = rules.from_spec(f"sgd:{RATE}"), rules.from_spec("adam")
    plan, number = Plan(UNROLL_LENGTH, scoring_examples=7), tf.constant(NUM_UNROLLS)
    found, relative, minibatch = (
        epochs.Epochs(sgd, Scored(), adam, plan=p, relative_validation=r).validate(
            sgd.weights(), SEED, number
        )
        for p, r in ((plan, False), (plan, True), (Plan(UNROLL_LENGTH), False))
    )
    bare = float(minibatch.final_loss) - 1

    def lift(unroll):
        return 7 + float(seeds.uniform(seeds.fold(SEED, seeds.Stream.SCORING, unroll), []))

    last = bare + lift(NUM_UNROLLS - 1)
    np.testing.assert_allclose(found.final_loss, last, rtol=1e-6)
    assert lift(NUM_UNROLLS - 1) != lift(0)
    first = np.sum(problems.BOWL_CURVATURES * problems.BOWL_START**2) / 2 + lift(0)
    np.testing.assert_allclose(relative.final_loss, np.log(last / first), rtol=1e-5)
    np.testing.assert_array_equal(found.losses, minibatch.losses)  # Of the steps' minibatches.


@pytest.mark.parametrize("name", ["train", "imitate"])
@pytest.mark.parametrize("with_xla", [True, False])
def test_an_epoch_holds_code_of_xla_only_if_it_may(name, with_xla):
    made = make(with_xla=with_xla)
    meta = made.initial_state(rules.from_spec(f"sgd:{RATE}").weights())
    graph = getattr(made, name).get_concrete_function(meta, SEED, tf.constant(1)).graph
    functions = graph.as_graph_def().library.function
    assert any(f.attr["_XlaMustCompile"].b for f in functions) == with_xla


@pytest.fixture(scope="module")
def compiled():
    return make()


@pytest.mark.parametrize("r, name", [(0.0, "train"), (1.0, "imitate")])
def test_interleaved_unrolls_of_one_kind_are_an_epoch_of_that_kind(compiled, r, name):
    interleaved = run(compiled.interleave, compiled, tf.constant(r))
    expected = run(getattr(compiled, name), compiled)
    np.testing.assert_array_equal(interleaved.is_imitation, [int(r)] * NUM_UNROLLS)
    for a, b in zip(tf.nest.flatten(interleaved), tf.nest.flatten(expected)):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_interleaved_unrolls_each_go_on_where_their_kind_stood(compiled):
    mixed = run(compiled.interleave, compiled, tf.constant(0.5))
    is_imitation = np.asarray(mixed.is_imitation, bool)
    assert 0 < is_imitation.sum() < NUM_UNROLLS
    # The teacher's x_t is known, and so is the loss of a student that takes half its steps or so.
    c = problems.BOWL_CURVATURES
    t = np.arange(UNROLL_LENGTH * is_imitation.sum())[:, None]
    gradients = c * (1 - 0.2 * c) ** t * problems.BOWL_START
    squares = np.sum(gradients**2, axis=1).reshape(-1, UNROLL_LENGTH).mean(axis=1) / (2 * 3)
    missing = np.sqrt(np.asarray(mixed.losses)[is_imitation] / squares)
    # All meta-steps of the epoch move the learning rate by 0.001 at most.
    np.testing.assert_allclose(missing, 0.2 - RATE, atol=0.001 * NUM_UNROLLS * 1.01)


def test_the_rate_of_imitated_unrolls_is_r(compiled):
    meta = compiled.initial_state(rules.from_spec(f"sgd:{RATE}").weights())
    num_unrolls, r = 10000, 0.3
    result = compiled.interleave(meta, SEED, tf.constant(num_unrolls), tf.constant(r))
    rate = np.mean(result.is_imitation)
    assert abs(rate - r) <= 3 * math.sqrt(r * (1 - r) / num_unrolls)


@pytest.mark.parametrize("shared", [False, True])
def test_imitation_has_a_meta_optimizer_of_its_own_unless_it_is_shared(shared):
    compiled = make(shared_meta_optimizer=shared, with_xla=False)
    result = run(compiled.imitate, compiled)
    steps = int(result.meta.meta_loss_optimizer.step), int(result.meta.imitation_optimizer.step)
    assert steps == ((NUM_UNROLLS, 0) if shared else (0, NUM_UNROLLS))


@pytest.mark.parametrize(
    "estimator",
    [
        estimators.Backprop(second_derivatives=True),
        evolution.TruncatedES(num_pairs=4),
        evolution.PersistentES(num_pairs=4),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_every_estimator_raises_a_learning_rate_that_is_too_low(estimator):
    compiled = make(estimator=estimator, with_xla=False)
    result = run(compiled.train, compiled)
    # Adam's first meta-steps are of the size of its learning rate where all gradients agree, and
    # somewhat smaller where they shrink, as here; signs at random would cancel.
    moved = float(result.meta.weights["learning_rate"]) - RATE
    assert 0.5 <= moved / (0.001 * NUM_UNROLLS) <= 1.1
    assert int(result.meta.skipped) == 0
