"""Long compiled runs against plain loops."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import optimizees, rules
from l2o_tf.core import seeds
from l2o_tf.evaluation import runner
from l2o_tf.rules import base
from l2o_tf.training import unrolls
from tests.training import problems

SEED = seeds.make_seed(1, "test")


class Counting(problems.SmallQuadratic):
    """Counts how often its loss is called from Python: when something is traced."""

    def __init__(self, dtype=tf.float32):
        super().__init__(dtype, num_batches=1000)
        self.calls = 0

    def loss(self, params, batch):
        self.calls += 1
        return super().loss(params, batch)


class FromTheWeights(base.UpdateRule):
    """u_t = -rate s_t with s_0 = start and s_t+1 = s_t / 2, whatever the gradients."""

    registered_name = "from_the_weights"

    def init(self, params, seed=None, weights=None):
        return self.weights()["start"]

    def update(self, grads, state, params, weights=None):
        return [-weights["rate"] * tf.ones_like(p) * state for p in params], 0.5 * state


def momentum_in_numpy(optimizee, rate, num_steps):
    """Losses f(theta_1), f(theta_2), ...: gradients from even batches, losses from odd ones."""
    a, b, noise = (t.numpy() for t in (optimizee._a, optimizee._b, optimizee._noise))
    x, y = np.array([1.0, -0.5, 2.0]), np.float64(0.7)
    velocity_x, velocity_y = np.zeros(3), 0.0
    losses = []
    for t in range(num_steps):
        velocity_x = 0.9 * velocity_x + a.T @ (a @ x - b + noise[2 * t])
        velocity_y = 0.9 * velocity_y + 4 * y**3
        x, y = x - rate * velocity_x, y - rate * velocity_y
        losses.append(np.sum((a @ x - b + noise[2 * t + 1]) ** 2) / 2 + y**4)
    return np.array(losses)


@pytest.mark.parametrize("num_steps", [1, 100, 437])
def test_a_run_is_a_plain_loop_for_any_number_of_steps(num_steps, monkeypatch):
    monkeypatch.setattr(runner, "_MAX_CHUNKS_PER_CALL", 4)  # 437 steps: calls of 1, 2, 4, 4, ...
    optimizee = Counting(tf.float64)
    losses = runner.Runner(optimizee).run(rules.from_spec("momentum:0.01"), SEED, num_steps)
    assert losses.dtype == np.float32 and losses.shape == (num_steps,)
    expected = momentum_in_numpy(optimizee, float(np.float32(0.01)), num_steps)
    np.testing.assert_allclose(losses, expected, rtol=2e-7)


def test_two_learning_rates_share_a_compiled_loop():
    optimizee = Counting(tf.float64)
    measure = runner.Runner(optimizee)
    for rate in (0.01, 0.003):
        losses = measure.run(rules.create("momentum", learning_rate=rate), SEED, 50)
        expected = momentum_in_numpy(optimizee, float(np.float32(rate)), 50)
        np.testing.assert_allclose(losses, expected, rtol=2e-7)
        if rate == 0.01:
            calls = optimizee.calls
    assert optimizee.calls == calls > 0
    measure.run(rules.create("momentum", learning_rate=0.01, momentum=0.5), SEED, 50)
    assert optimizee.calls > calls


def eager_losses(rule, optimizee, num_steps):
    trajectory = unrolls.start(optimizee, rule, SEED)
    params, state = list(trajectory.params), trajectory.rule_state
    batches = unrolls.random_batches(optimizee, SEED, 0)
    losses = []
    for t in range(num_steps):
        _, grads = unrolls.loss_and_gradients(optimizee, params, batches(2 * t))
        updates, state = rule.update(grads, state, params)
        params = [p + u for p, u in zip(params, updates)]
        losses.append(optimizee.loss(params, batches(2 * t + 1)).numpy())
    return np.array(losses)


@pytest.mark.parametrize("name", ["dm", "rnnprop"])
def test_two_learned_rules_share_a_compiled_loop(name):
    measured = Counting()
    measure = runner.Runner(measured)
    losses = []
    for seed in (0, 1):
        rule = rules.create_learned(name, seeds.make_seed(seed, "rule"), units=(8,))
        # Larger steps, so that the two rules end far apart.
        rule.assign({k: 20 * w if k == "linear/w" else w for k, w in rule.weights().items()})
        losses.append(measure.run(rule, SEED, 30))
        if seed == 0:
            calls = measured.calls
        np.testing.assert_allclose(losses[-1], eager_losses(rule, Counting(), 30), rtol=1e-5)
    assert measured.calls == calls > 0
    assert np.abs(losses[0] / losses[1] - 1).max() > 0.1


def test_a_rule_with_attention_is_scored_at_its_true_parameters():
    rule = rules.create("scale", use_attention=True, level_sizes=(3,), init_lr_range=(0.1, 0.1))
    optimizee = optimizees.create("simple")
    losses = runner.Runner(optimizee).run(rule, SEED, 3)
    params, state = unrolls.start(optimizee, rule, SEED)
    for loss in losses:
        _, grads = unrolls.loss_and_gradients(optimizee, params, ())
        updates, state = rule.update(grads, state, params)
        params = [p + u for p, u in zip(params, updates)]
        expected = optimizee.loss(rule.true_params(params, state), ())
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        assert not np.allclose(loss, optimizee.loss(params, ()), rtol=1e-3)


def test_the_first_state_is_that_of_each_rule():
    optimizee = Counting()
    measure = runner.Runner(optimizee)
    for start in (0.1, 0.2):
        rule = FromTheWeights({"start": tf.constant(start), "rate": tf.constant(1.0)})
        losses = measure.run(rule, SEED, 10)
        moved = [p - 2 * start * (1 - 0.5**10) for p in optimizee.init(SEED)]
        expected = optimizee.loss(moved, optimizee.batch(SEED, 19))
        np.testing.assert_allclose(losses[-1], expected, rtol=1e-5)


def test_a_run_is_a_function_of_its_seed():
    measure = runner.Runner(optimizees.create("quadratic", batch_size=2, num_dims=2))
    rule = rules.from_spec("adam:0.1")
    first, again = measure.run(rule, SEED, 20), measure.run(rule, SEED, 20)
    np.testing.assert_array_equal(first, again)
    other = measure.run(rule, seeds.make_seed(2, "test"), 20)
    assert np.all(first != other)


def test_divergence_is_recorded_and_raises_nothing():
    optimizee = Counting(tf.float64)
    losses = runner.Runner(optimizee).run(rules.from_spec("momentum:1000"), SEED, 120)
    with np.errstate(all="ignore"):
        expected = momentum_in_numpy(optimizee, 1000.0, 120).astype(np.float32)
    finite = np.isfinite(losses)
    assert 1 <= finite.sum() < 10 and not finite[finite.sum() :].any()
    np.testing.assert_array_equal(finite, np.isfinite(expected))
    np.testing.assert_allclose(losses[finite], expected[finite], rtol=1e-6)
