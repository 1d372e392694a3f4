"""Properties of the hierarchical RNN that no reference trajectory shows."""

import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import errors, loops, seeds
from l2o_tf.rules import hierarchical_options, hierarchical_rnn

FIXED_LR = {"init_lr_range": (1e-2, 1e-2)}
SHAPES = ((3, 2), (4,), ())


def random_tensors(seed, shapes=SHAPES, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [tf.constant(rng.normal(size=shape).astype(dtype)) for shape in shapes]


def run(rule, params, num_steps):
    """Steps along the gradients of sum(cos(x)); returns parameters and the state."""
    state = rule.init(params)
    for _ in range(num_steps):
        updates, state = rule.update([-tf.sin(p) for p in params], state, params)
        params = [p + u for p, u in zip(params, updates)]
    return params, state


def test_options_are_checked_and_kept():
    rule = hierarchical_rnn.HierarchicalRNN(level_sizes=[4, 3], num_gradient_scales=2)
    assert rule.settings == hierarchical_options.Options(level_sizes=(4, 3), num_gradient_scales=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level_sizes": ()}, "level_sizes must be 1, 2 or 3 positive integers"),
        ({"level_sizes": (10, 0)}, "level_sizes must be 1, 2 or 3 positive integers"),
        ({"init_lr_range": (0.0, 1.0)}, "init_lr_range must be two positive numbers"),
        ({"init_lr_range": (1.0, 0.1)}, "init_lr_range must be two positive numbers"),
        ({"init_lr_range": (1.0,)}, "init_lr_range must be two positive numbers"),
        ({"num_gradient_scales": 0}, "num_gradient_scales must be at least 1"),
        ({"dynamic_output_scale": False}, "turn off use_relative_lr"),
    ],
)
def test_impossible_options_are_input_errors(options, message):
    with pytest.raises(errors.InputError, match=message):
        hierarchical_rnn.HierarchicalRNN(**options)


@pytest.mark.parametrize("options", [{}, {"learnable_rnn_init": False, **FIXED_LR}])
def test_a_random_start_without_a_seed_is_an_input_error(options):
    rule = hierarchical_rnn.HierarchicalRNN(**options)
    with pytest.raises(errors.InputError, match="give init a seed"):
        rule.init(random_tensors(0))


def test_initial_log_lr_is_half_per_tensor_and_half_per_coordinate():
    low, high = 1e-6, 1e-2
    params = [tf.zeros([1000]) for _ in range(200)]
    rule = hierarchical_rnn.HierarchicalRNN(init_lr_range=(low, high))
    log_lr = rule.init(params, seeds.make_seed(5, "test")).log_lr.numpy().reshape(200, 1000)
    half = math.log(high / low) / 2
    middle = math.log(low * high) / 2
    spread = log_lr.max(axis=1) - log_lr.min(axis=1)
    assert np.all(spread < half + 1e-5) and np.all(spread > 0.98 * half)
    # Means of 1000 uniform numbers of variance half^2 / 12, plus one per tensor.
    means = log_lr.mean(axis=1)
    assert np.abs(means.mean() - middle) < 4 * half / math.sqrt(12 * 200)
    assert 0.9 < means.std() / (half / math.sqrt(12)) < 1.1


def test_random_starts_are_a_function_of_the_seed():
    params = random_tensors(0)
    rule = hierarchical_rnn.HierarchicalRNN(learnable_rnn_init=False)
    first = rule.init(params, seeds.make_seed(5, "test"))
    again = tf.function(rule.init)(params, seeds.make_seed(5, "test"))
    other = rule.init(params, seeds.make_seed(6, "test"))
    for name in ("log_lr", "hidden", "tensor_hidden", "global_hidden"):
        value = getattr(first, name).numpy()
        np.testing.assert_allclose(getattr(again, name), value, rtol=1e-6)
        assert np.all(np.any(np.abs(getattr(other, name) - value) > 1e-3, axis=-1))


def test_initial_weights_have_the_legacy_distributions():
    rule = hierarchical_rnn.HierarchicalRNN(level_sizes=(50, 60, 60), zero_init_lr_weights=False)
    weights = {name: value.numpy() for name, value in rule.weights().items()}
    expected_bias = {"scale_decay/b": 3.2, "input_decay/b": 2.2, "log_lr/b": 0.0}
    expected_bias |= {f"level{i}/gates/b": 2.2 for i in range(3)}
    for name, value in expected_bias.items():
        np.testing.assert_array_equal(weights[name], np.full_like(weights[name], value))
    for name in ("level0/gates/w", "level2/candidate/w", "level0/from_tensor/w", "log_lr/w"):
        num_inputs, size = weights[name].shape[0], weights[name].size
        scaled = weights[name] * math.sqrt(num_inputs) / 0.5
        assert abs(scaled.std() - 1) < 4 / math.sqrt(2 * size), name
        assert abs(scaled.mean()) < 4 / math.sqrt(size), name
    assert np.all(np.abs(weights["update_shortcut/w"] - 0.25) < 0.25)
    assert np.abs(weights["level1/init"]).max() < 1 < 2 * np.abs(weights["level1/init"]).max()
    assert weights["log_lr/momentum_logit"] == np.float32(3.2)
    assert weights["log_lr/step_offset"] == -1


def test_coordinates_of_a_tensor_are_treated_alike():
    rule = hierarchical_rnn.HierarchicalRNN(**FIXED_LR)
    params = random_tensors(1, [(5,), (4,)])
    order = np.array([3, 0, 4, 2, 1])
    moved, _ = run(rule, params, 4)
    permuted, _ = run(rule, [tf.gather(params[0], order), params[1]], 4)
    np.testing.assert_allclose(permuted[0], moved[0].numpy()[order], rtol=0, atol=1e-6)
    np.testing.assert_allclose(permuted[1], moved[1], rtol=0, atol=1e-6)


def test_average_tensors_feeds_the_global_level_all_tensors():
    params = random_tensors(2, [(5,), (4,), (2,)])
    average = hierarchical_rnn.HierarchicalRNN(average_tensors=True, **FIXED_LR)
    last = hierarchical_rnn.HierarchicalRNN(**FIXED_LR)
    for rule, is_symmetric in ((average, True), (last, False)):
        moved, state = run(rule, params, 3)
        reverse, reverse_state = run(rule, params[::-1], 3)
        difference = np.abs(state.global_hidden - reverse_state.global_hidden).max()
        assert difference < 1e-6 if is_symmetric else difference > 1e-3
        if is_symmetric:
            for p, q in zip(moved, reverse[::-1]):
                np.testing.assert_allclose(p, q, rtol=0, atol=1e-6)
    _, one = run(average, params[:1], 3)
    _, same = run(last, params[:1], 3)
    np.testing.assert_array_equal(one.global_hidden, same.global_hidden)


def test_learning_rates_out_of_range_keep_their_gradient():
    rule = hierarchical_rnn.HierarchicalRNN(max_log_lr=-8.0, **FIXED_LR)
    params = random_tensors(3)
    state = rule.init(params)
    weights = rule.weights()
    weights["log_lr/b"] = tf.ones([1])
    with tf.GradientTape() as tape:
        tape.watch(weights["log_lr/b"])
        updates, state = rule.update(params, state, params, weights)
        total = tf.add_n([tf.reduce_sum(u) for u in updates])
    mean_square = [np.mean(np.square(u)) for u in updates]
    np.testing.assert_allclose(mean_square, np.exp(2 * (-8.0 - 1.0)), rtol=1e-5)
    # u = -exp(log_lr + b - 1) D for the log learning rate that was not clipped: du/db = u.
    np.testing.assert_allclose(tape.gradient(total, weights["log_lr/b"]), [total], rtol=1e-5)


@pytest.mark.parametrize(
    ("learning_rate", "same_as"), [(1e-7, 1e-4), (10.0, 1e-2), (1e-2, 1e-3), (1e-6, 1e-3)]
)
def test_the_extreme_indicator_is_the_log_distance_from_1e_minus_6_to_1(learning_rate, same_as):
    def first_direction(lr, **options):
        rule = hierarchical_rnn.HierarchicalRNN(init_lr_range=(lr, lr), **options)
        params = random_tensors(6)
        updates, _ = rule.update(params, rule.init(params), params)
        return np.concatenate([np.ravel(u / lr) for u in updates])

    # Both are the last input, so that the rules have the same weights; the shortcut is
    # ln(lr / 1e-3).
    direction = first_direction(learning_rate, use_extreme_indicator=True)
    expected = first_direction(same_as, use_lr_shortcut=True)
    other = first_direction(same_as * 1.1, use_lr_shortcut=True)
    np.testing.assert_allclose(direction, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(direction - other).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"use_attention": True, "use_problem_lr_mean": False}])
def test_meta_gradients_through_a_compiled_loop_equal_central_differences(options):
    dtype = tf.float64
    rule = hierarchical_rnn.HierarchicalRNN(level_sizes=(4, 3, 3), **FIXED_LR, **options)
    params = random_tensors(4, dtype=np.float64)
    names = ("level0/init", "level1/candidate/w", "update_shortcut/w", "log_lr/step_offset")
    weights = {name: tf.cast(value, dtype) for name, value in rule.weights().items()}
    direction = dict(zip(names, random_tensors(5, [weights[n].shape for n in names], float)))

    def objective(weights):
        def step(carry, _):
            params, state = carry
            with tf.GradientTape() as tape:
                tape.watch(params)
                loss = tf.add_n([tf.reduce_sum(tf.cos(p)) for p in params])
            grads = tape.gradient(loss, params)
            updates, state = rule.update(grads, state, params, weights)
            params = [p + u for p, u in zip(params, updates)]
            true = rule.true_params(params, state)
            return (params, state), tf.add_n([tf.reduce_sum(tf.cos(p)) for p in true])

        state = rule.init(params, None, weights)
        _, losses = loops.scan(step, (params, state), 5, tf.TensorSpec([], dtype))
        return tf.reduce_sum(losses)

    @tf.function(jit_compile=True)
    def slope(weights):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = objective(weights)
        gradient = tape.gradient(value, weights)
        return tf.add_n([tf.reduce_sum(gradient[name] * direction[name]) for name in names])

    @tf.function
    def moved(distance):
        nudge = {name: weights[name] + distance * direction[name] for name in names}
        return objective(weights | nudge)

    epsilon = 1e-4
    numeric = (moved(tf.constant(epsilon, dtype)) - moved(tf.constant(-epsilon, dtype))) / (
        2 * epsilon
    )
    np.testing.assert_allclose(slope(weights), numeric, rtol=1e-6)
