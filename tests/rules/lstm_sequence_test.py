"""The hand-written backward pass against automatic differentiation of the plain definition."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import loops
from l2o_tf.rules import base, lstm_sequence

CASES = [
    # rule, its options, coordinates, steps, coordinates x steps of a block
    ("dm", {"units": (3,)}, 1, 1, 1000),
    ("dm", {"units": (4, 5)}, 7, 6, 1000),
    ("dm", {"units": (2, 3, 4)}, 16, 3, 1000),
    ("dm", {"units": (20, 20)}, 37, 4, 1000),
    ("dm", {"units": (5, 2)}, 70, 5, 100),
    ("rnnprop", {"units": (3,), "num_projected": 2}, 5, 7, 1000),
    ("rnnprop", {"units": (4, 3), "num_projected": 6}, 23, 4, 1000),
    ("rnnprop", {"units": (5, 5, 5), "num_projected": 5}, 50, 6, 96),
    ("dm", {"units": (3,), "centered": True}, 5, 7, 1000),
    ("rnnprop", {"units": (4, 3), "num_projected": 6, "centered": True, "drift": 0.1}, 23, 4, 10),
    ("dm", {"units": (3,), "centered": True, "drift": 0.1, "drift_of": "units"}, 5, 7, 1000),
]


def draw(random, shape, scale=1.0):
    return tf.constant(random.normal(scale=scale, size=shape))


def random_like(random, nest):
    return tf.nest.map_structure(
        lambda x: draw(random, x.shape) if x.dtype.is_floating else tf.constant(0), nest
    )


def inner_product(nest, other):
    pairs = zip(tf.nest.flatten(nest), tf.nest.flatten(other))
    return tf.add_n([tf.reduce_sum(a * b) for a, b in pairs if a.dtype.is_floating])


class Problem:
    """A random rule in float64 with a sequence of gradients and a cotangent for its results."""

    def __init__(self, case):
        name, options, num_coordinates, num_steps, self.block_size = case
        random = np.random.default_rng(len(str(case)))
        self.num_steps = num_steps
        self.rule = rules.create(name, **options)
        self.weights = {k: draw(random, w.shape, 0.5) for k, w in self.rule.weights().items()}
        self.params = [tf.zeros([num_coordinates], tf.float64)]
        # Gradients of every magnitude, some of them zero.
        grads = random.normal(size=(num_steps, num_coordinates))
        grads *= np.exp(random.uniform(-8, 2, size=grads.shape))
        self.grads = tf.constant(grads * (random.uniform(size=grads.shape) > 0.2))
        self.state = random_like(random, self.rule.init(self.params))
        if name == "rnnprop":
            moments = self.state.moments
            moments = moments._replace(second=tf.abs(moments.second))
            self.state = self.state._replace(moments=moments)
        self.cotangents = random_like(random, ([self.grads], self.state))

    def plain_replay(self, grads, state, params, weights):
        return base.step_by_step(self.rule, grads, state, params, weights)


def assert_close(actual, expected):
    tf.nest.assert_same_structure(actual, expected)
    for a, e in zip(tf.nest.flatten(actual), tf.nest.flatten(expected)):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-10 * max(1.0, np.abs(e).max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "case, jit_compile",
    [(case, False) for case in CASES] + [(case, True) for case in CASES[1::3]],
)
def test_replay_and_its_gradients_equal_the_plain_ones(case, jit_compile, monkeypatch):
    problem = Problem(case)
    monkeypatch.setattr(lstm_sequence, "BLOCK_SIZE", problem.block_size)

    def differentiate(replay):
        @tf.function(jit_compile=jit_compile, autograph=False)
        def run(weights, state):
            with tf.GradientTape() as tape:
                tape.watch((weights, state))
                result = replay([problem.grads], state, problem.params, weights)
                objective = inner_product(result, problem.cotangents)
            _, lstm = problem.rule.split(state)
            return result, tape.gradient(objective, (weights, lstm))

        return run(problem.weights, problem.state)

    assert_close(differentiate(problem.rule.replay), differentiate(problem.plain_replay))


@pytest.mark.parametrize("case", CASES)
def test_recorded_steps_and_their_gradients_equal_the_plain_ones(case):
    problem = Problem(case)
    rule = problem.rule

    @tf.function(autograph=False)
    def recorded():
        recorder = rule.differentiator.recorder(problem.params, problem.num_steps, problem.weights)
        update = loops.compiled(recorder.update)

        def step(state, t):
            updates, after, record = update([problem.grads[t]], state, problem.params)
            return after, (updates, record, recorder.kept(state))

        start = recorder.start(problem.state)
        arguments = ([problem.grads[0]], start, problem.params)
        updates, _, record = loops.output_specs(update, *arguments)
        state, (updates, records, kept) = loops.record(
            step, start, problem.num_steps, (updates, record, recorder.kept(start))
        )
        gradient = recorder.gradient(kept, records, problem.cotangents[0][0])
        return [u.stack() for u in updates], recorder.end(state), gradient

    def plain():
        with tf.GradientTape() as tape:
            tape.watch(problem.weights)
            result = problem.plain_replay(
                [problem.grads], problem.state, problem.params, problem.weights
            )
            objective = inner_product(result[0], problem.cotangents[0])
        return *result, tape.gradient(objective, problem.weights)

    assert_close(recorded(), plain())


@pytest.mark.parametrize("num_coordinates, records", [(1000, True), (2**15, False)])
def test_steps_are_recorded_where_one_block_holds_them(num_coordinates, records):
    params = [tf.zeros([num_coordinates])]
    rule = rules.create("dm")
    assert (rule.differentiator.recorder(params, 20, rule.weights()) is not None) == records


def test_blocks_hold_no_more_than_their_size_but_all_coordinates(monkeypatch):
    seen = []
    forward = lstm_sequence._forward

    def spy(kernels, features, states, keep):
        seen.append(features.shape)
        return forward(kernels, features, states, keep)

    monkeypatch.setattr(lstm_sequence, "_forward", spy)
    monkeypatch.setattr(lstm_sequence, "BLOCK_SIZE", 5 * 48)
    rule = rules.create("dm", units=(2,))
    params = [tf.zeros([100])]
    updates, _ = rule.replay([tf.ones([5, 100])], rule.init(params), params)
    assert seen == [(5, 2, 48)] * 3
    np.testing.assert_array_equal(updates[0], np.tile(updates[0][:, :1], 100))
