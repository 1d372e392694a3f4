import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import keras_routing, rules
from l2o_tf.core import errors
from l2o_tf.keras_optimizer import LearnedOptimizer

ROUTE = {"adam:0.01": ["biases", "embeddings"]}


def variables():
    shapes = {"kernel": [3, 2], "bias": [2], "embeddings": [4, 2]}
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.normal(size=shape).astype(np.float32), name=name)
        for name, shape in shapes.items()
    ]


def steps(optimizer, params, number=3, missing=()):
    """The values after so many steps with random gradients."""
    rng = np.random.default_rng(1)
    for step in range(number):
        grads = [tf.constant(rng.normal(size=p.shape), tf.float32) for p in params]
        if step == 1:
            grads = [None if i in missing else grad for i, grad in enumerate(grads)]
        optimizer.apply(grads, params)
    return [p.numpy() for p in params]


@pytest.mark.parametrize("rule", ["sgd:0.5", "rnnprop_cl_il"])
def test_each_variable_takes_the_steps_of_its_rule(rule):
    routed = steps(LearnedOptimizer(rule, route=ROUTE), variables())
    # Each coordinate is on its own for all of these rules.
    alone = steps(LearnedOptimizer(rule), variables())
    by_adam = steps(LearnedOptimizer("adam:0.01"), variables())
    np.testing.assert_allclose(routed[0], alone[0], rtol=1e-6)
    np.testing.assert_allclose(routed[1], by_adam[1], rtol=1e-6)
    np.testing.assert_allclose(routed[2], by_adam[2], rtol=1e-6)
    assert all(not np.allclose(a, b) for a, b in zip(alone, by_adam))


def test_the_learning_rate_multiplies_all_updates():
    before = [p.numpy() for p in variables()]
    route = {"sgd:0.1": "biases", "sgd:1": lambda v: v.name == "embeddings"}
    whole = steps(LearnedOptimizer("sgd:0.5", route=route), variables(), 1)
    half = steps(LearnedOptimizer("sgd:0.5", 0.5, route=route), variables(), 1)
    rng = np.random.default_rng(1)
    for start, one, other, rate in zip(before, whole, half, (0.5, 0.1, 1.0)):
        grad = rng.normal(size=start.shape)
        np.testing.assert_allclose(one - start, -rate * grad, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(other - start, -rate * grad / 2, rtol=1e-4, atol=1e-6)


def steps_of_small_rule(missing=()):
    rule = rules.create("rnnprop", units=(2,), num_projected=2)
    return steps(LearnedOptimizer(rule, route=ROUTE), variables(), 3, missing)


@pytest.fixture(scope="module")
def complete():
    return steps_of_small_rule()


@pytest.mark.parametrize("missing", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2))])
def test_a_variable_without_a_gradient_waits_with_its_state(complete, missing):
    found = steps_of_small_rule({missing})
    # The others do not notice.
    for i in range(3):
        assert np.allclose(found[i], complete[i], rtol=1e-6) == (i != missing)


def test_the_first_formula_that_wants_a_variable_gets_it():
    router = keras_routing.Router({"sgd:1": "embeddings", "adam": lambda v: True})
    assert router.assignment(variables()) == ["adam", "adam", "sgd:1"]
    assert keras_routing.Router({}).assignment(variables()) == [keras_routing.MAIN] * 3


def test_the_predicates_know_the_layers_of_keras():
    model = keras.Sequential(
        [
            keras.Input([5], dtype="int32"),
            keras.layers.Embedding(7, 4),
            keras.layers.GRU(3),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(2),
        ]
    )
    router = keras_routing.Router(ROUTE)
    named = zip(model.trainable_variables, router.assignment(model.trainable_variables))
    assert [(v.name, spec != keras_routing.MAIN) for v, spec in named] == [
        ("embeddings", True),
        ("kernel", False),
        ("recurrent_kernel", False),
        ("bias", True),  # Of a GRU: two axes.
        ("gamma", True),
        ("beta", True),
        ("kernel", False),
        ("bias", True),
    ]
    raw = [tf.Variable(tf.zeros([2, 2]), name="w"), tf.Variable(0.0, name="b")]
    assert router.assignment(raw) == [keras_routing.MAIN, "adam:0.01"]


def model_of(optimizer, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", **options)
    return model


def fit(model):
    x = np.random.default_rng(2).normal(size=[16, 3]).astype(np.float32)
    model.fit(x, x[:, :1], batch_size=4, shuffle=False, verbose=0)


def test_a_saved_model_goes_on_as_if_it_had_not_been_saved(tmp_path):
    model = model_of(LearnedOptimizer("rnnprop_cl_il", route=ROUTE))
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config()["route"] == {"adam:0.01": ["biases", "embeddings"]}
    fit(model)
    fit(loaded)
    for one, other in zip(model.variables, loaded.variables):
        np.testing.assert_array_equal(one, other)
    unrouted = model_of(LearnedOptimizer("rnnprop_cl_il"), run_eagerly=True)
    fit(unrouted)
    fit(unrouted)
    assert np.abs(unrouted.variables[1] - model.variables[1]).max() > 1e-3


@keras_routing.register("test of routing")
def named_kernels(variable):
    return variable.name == "kernel"


def test_a_function_has_to_have_a_name_to_be_saved():
    route = {"sgd:0.1": named_kernels}
    config = json.loads(json.dumps(LearnedOptimizer("sgd:1", route=route).get_config()))
    again = LearnedOptimizer.from_config(config)
    np.testing.assert_array_equal(
        steps(again, variables())[0],
        steps(LearnedOptimizer("sgd:1", route=route), variables())[0],
    )
    unnamed = LearnedOptimizer("sgd:1", route={"sgd:0.1": lambda v: True})
    steps(unnamed, variables())
    with pytest.raises(errors.InputError, match="'sgd:0.1' in route cannot be saved: give the"):
        unnamed.get_config()


@pytest.mark.parametrize(
    "route, message",
    [
        ({"adam:0.1": "nothing"}, "unknown predicate on variables 'nothing'; known: biases"),
        ({"rnnprop_cl_il": "biases"}, "'rnnprop_cl_il' is no formula, such as adam:0.001"),
        ({rules.create("sgd"): "biases"}, "is no formula"),
        ({"adam:fast": "biases"}, "expected name:learning_rate"),
        ({"adam": [3]}, "3 is neither a function of a variable"),
        ("biases", "is no dictionary such as"),
    ],
)
def test_a_wrong_route_is_named(route, message):
    with pytest.raises(errors.InputError, match=message):
        LearnedOptimizer("sgd:0.1", route=route)


def test_all_variables_may_be_left_to_formulas():
    route = {"adam:0.01": lambda v: True}
    routed = steps(LearnedOptimizer("rnnprop_cl_il", route=route), variables())
    expected = steps(LearnedOptimizer("adam:0.01"), variables())
    for one, other in zip(routed, expected):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("option", [{"total_steps": 3}, {"weight_decay": 0.1}])
def test_options_that_a_formula_has_not_keep_vectors_with_the_rule(option):
    rule = rules.create("mlp", start="momentum", adam="vectors", **option)
    grads = [tf.fill(v.shape, 0.3) for v in variables()]
    by_keras, params = variables(), [tf.convert_to_tensor(v) for v in variables()]
    optimizer, state = LearnedOptimizer(rule), rule.init(params)
    optimizer.build(by_keras)
    for _ in range(5):
        optimizer.apply(grads, by_keras)
        updates, state = rule.update(grads, state, params)
        params = [p + u for p, u in zip(params, updates)]
    for variable, expected in zip(by_keras, params):
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-7)


def test_a_rule_says_itself_what_it_leaves_to_adam():
    rule = rules.create("mlp", adam="vectors", learning_rate=0.002, adam_factor=4.0)
    by_itself = steps(LearnedOptimizer(rule), variables())
    told = {"adam:0.008": ["biases", "embeddings"]}
    assert LearnedOptimizer(rule).get_config()["route"] == told
    for own, asked in zip(by_itself, steps(LearnedOptimizer(rule, route=told), variables())):
        np.testing.assert_array_equal(own, asked)
    table = [v.name for v in variables()].index("embeddings")
    whole = steps(LearnedOptimizer(rule, route={}), variables())
    assert np.abs(by_itself[table] - whole[table]).max() > 1e-3
    assert LearnedOptimizer(rules.create("mlp")).get_config()["route"] == {}
