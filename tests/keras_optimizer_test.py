import json
import warnings

import keras
import numpy as np
import pytest
import sonnet as snt
import tensorflow as tf

import l2o_tf
from l2o_tf import keras_sources, rules
from l2o_tf.core import errors, seeds
from l2o_tf.rules import base
from tests import keras_cases as cases

RATE, EPSILON = 0.02, 1e-7
SCHEDULE = keras.optimizers.schedules.ExponentialDecay(1.0, 2, 0.5)


def adam_rule():
    """Keras' Adam as one of our rules."""
    return rules.create("adam", learning_rate=RATE, epsilon=EPSILON)


def learned(**options):
    return l2o_tf.LearnedOptimizer(adam_rule(), **options)


def adam(learning_rate=1.0, weight_decay=None, **options):
    """Keras' Adam, with a learning rate and a decay in multiples of RATE."""
    if callable(learning_rate):
        rate = Scaled(learning_rate)
    else:
        rate = RATE * learning_rate
    decay = None if weight_decay is None else weight_decay / RATE
    return keras.optimizers.Adam(rate, weight_decay=decay, epsilon=EPSILON, **options)


class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, schedule):
        self.schedule = schedule

    def __call__(self, step):
        return RATE * self.schedule(step)


BOTH = pytest.mark.parametrize("make", [learned, adam])


def trajectory(optimizer, num_steps=6, finalize=False, dtype="float32", dense=False):
    """All parameters after each of some steps with a matrix, an embedding and an unused bias."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape) for shape in ([3, 2], [5, 2], [2])]
    variables = [keras.Variable(v, dtype=dtype, name=f"v{i}") for i, v in enumerate(values)]
    rows = []
    for step in range(num_steps):
        with tf.GradientTape() as tape:
            looked_up = tf.gather(variables[1].value, [1, 3, 1, step % 2])
            loss = tf.reduce_sum(tf.square(looked_up @ tf.transpose(variables[0].value) - 1))
            loss = optimizer.scale_loss(loss)
        grads = tape.gradient(loss, [v.value for v in variables])
        assert isinstance(grads[1], tf.IndexedSlices) and grads[2] is None
        if dense:
            grads[1] = tf.convert_to_tensor(grads[1])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Gradients do not exist")
            optimizer.apply_gradients(zip(grads, variables))
        rows.append(np.concatenate([v.numpy().ravel() for v in variables]))
    if finalize:
        optimizer.finalize_variable_values(variables)
        rows.append(np.concatenate([v.numpy().ravel() for v in variables]))
    return np.array(rows)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clipnorm": 0.5},
        {"clipvalue": 0.1},
        {"global_clipnorm": 0.5},
        {"weight_decay": 0.01},
        {"loss_scale_factor": 1024.0},
        {"gradient_accumulation_steps": 2},
        {"gradient_accumulation_steps": 3, "clipnorm": 0.5, "weight_decay": 0.01},
        {"use_ema": True, "ema_momentum": 0.7},
        {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 2},
        {"learning_rate": 0.3},
        pytest.param({"learning_rate": SCHEDULE}, id="schedule"),
    ],
    ids=str,
)
def test_the_options_of_keras_mean_what_they_mean_for_keras_adam(options):
    finalize = "use_ema" in options
    # With sparse gradients Keras' Adam squares the parts of a row instead of their sum.
    expected = trajectory(adam(**options), finalize=finalize, dense=True)
    ours = trajectory(learned(**options), finalize=finalize)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("by", ["var_names", "var_list"])
def test_variables_that_are_excluded_from_weight_decay_rest(by):
    for optimizer in (
        l2o_tf.LearnedOptimizer("sgd:1.0", 0.5, weight_decay=0.1),
        keras.optimizers.SGD(0.5, weight_decay=0.1),
    ):
        kernel, bias = keras.Variable([2.0], name="kernel"), keras.Variable([4.0], name="bias")
        excluded = {"var_names": ["bias"], "var_list": [bias]}[by]
        optimizer.exclude_from_weight_decay(**{by: excluded})
        for steps in (1, 2):
            optimizer.apply([tf.zeros([1]), tf.zeros([1])], [kernel, bias])
            np.testing.assert_allclose(kernel, [2 * (1 - 0.5 * 0.1) ** steps], rtol=1e-6)
            np.testing.assert_array_equal(bias, [4])


def test_variables_of_other_dtypes():
    expected = trajectory(adam(), dtype="float64", dense=True)
    np.testing.assert_allclose(trajectory(learned(), dtype="float64"), expected, atol=2e-6)


@BOTH
def test_iterations_learning_rate_and_order_of_variables(make):
    optimizer = make()
    variables = [keras.Variable([1.0, 2.0], name="a"), keras.Variable([[3.0]], name="b")]
    assert [v.name for v in optimizer.variables[:2]] == ["iteration", "learning_rate"]
    optimizer.build(variables)
    count = len(optimizer.variables)
    optimizer.build(variables)
    assert len(optimizer.variables) == count
    assert optimizer.variables[0] is optimizer.iterations
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == float(optimizer.variables[1].numpy()) == 0.25
    for expected in (1, 2, 3):
        returned = optimizer.apply_gradients([(tf.ones([2]), variables[0])])
        assert int(returned) == int(optimizer.iterations) == expected
    optimizer.apply([tf.ones([2]), tf.ones([1, 1])])
    assert int(optimizer.iterations) == 4
    optimizer.learning_rate = 0.0
    before = [v.numpy() for v in variables]
    optimizer.apply([tf.ones([2]), tf.ones([1, 1])])
    assert all(np.array_equal(b, v.numpy()) for b, v in zip(before, variables))


@BOTH
def test_wrong_use_raises_as_it_does_in_keras(make):
    optimizer, other = make(), keras.Variable(1.0)
    variable = keras.Variable([1.0])
    optimizer.build([variable])
    for arguments in ([(tf.ones([]), other)], [(None, variable)]):
        with pytest.raises(ValueError, match="Unknown variable|No gradients provided"):
            optimizer.apply_gradients(arguments)
    with pytest.raises(ValueError, match="not recognized"):
        make(momentum=0.9)
    with pytest.raises(ValueError, match="Only one of"):
        make(clipnorm=1.0, clipvalue=1.0)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer = make()
        optimizer.apply_gradients([(tf.ones([1]), variable), (None, other)])
    assert other.numpy() == 1 and variable.numpy() != 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_ema": True},
        {"weight_decay": 0.01},
        {"clipnorm": 0.5, "gradient_accumulation_steps": 2},
    ],
    ids=str,
)
def test_variables_of_tensorflow(options):
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=shape).astype(np.float32) for shape in ([3, 2], [2])]
    grads = rng.normal(size=[4, 8]).astype(np.float32)
    ends = []
    for make in (learned, adam):
        optimizer, variables = make(**options), [tf.Variable(start) for start in starts]
        for row in grads:
            optimizer.apply_gradients(zip([row[:6].reshape(3, 2), tf.constant(row[6:])], variables))
        ends.append([v.numpy() for v in variables])
    for ours, expected, start in zip(*ends, starts):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6)
        assert np.abs(ours - start).max() > 0.01


def test_a_module_of_sonnet_trains_in_a_compiled_loop():
    module = snt.Linear(3, w_init=snt.initializers.Constant(0.5))
    inputs = tf.constant([[1.0, -2.0]])
    module(inputs)
    twin = keras.layers.Dense(3, kernel_initializer=keras.initializers.Constant(0.5))
    twin(inputs)

    def train(layer, variables, optimizer):
        @tf.function
        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(layer(inputs) - [1.0, 2.0, 3.0]))
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

        for _ in range(5):
            step()

    train(module, [module.w, module.b], learned())
    train(twin, twin.trainable_variables, adam())
    np.testing.assert_allclose(module.w, twin.kernel, rtol=0, atol=2e-6)
    np.testing.assert_allclose(module.b, twin.bias, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "grads",
    [
        [np.ones([2, 3]), np.ones([2])],  # Transposed.
        [np.ones([6]), np.ones([2])],
        [np.ones([2]), np.ones([3, 2])],  # Swapped.
        [np.ones([3, 2]), np.ones([])],
        [np.ones([3, 2])],
        [np.ones([3, 2]), np.ones([2]), np.ones([2])],
        [tf.IndexedSlices(tf.ones([1, 3]), tf.constant([0])), np.ones([2])],
        [tf.IndexedSlices(tf.ones([1, 2]), tf.constant([0]), tf.constant([4, 2])), np.ones([2])],
    ],
)
def test_gradients_of_other_shapes_are_refused_and_change_nothing(grads):
    variables = [keras.Variable(np.ones([3, 2])), tf.Variable([1.0, 2.0])]
    optimizer = learned()
    optimizer.build(variables)
    grads = [tf.cast(g, tf.float32) if isinstance(g, np.ndarray) else g for g in grads]
    with pytest.raises(errors.InputError, match="gradient"):
        optimizer.apply(grads, variables)
    with pytest.raises(ValueError, match="gradient"):
        tf.function(lambda: optimizer.apply(grads, variables), autograph=False)()
    assert int(optimizer.iterations) == 0
    np.testing.assert_array_equal(variables[0], np.ones([3, 2]))


def test_gradients_of_a_variable_that_occurs_twice_are_summed_up():
    variable = keras.Variable([1.0])
    l2o_tf.LearnedOptimizer("sgd:0.1").apply_gradients(
        [(tf.constant([1.0]), variable), (tf.constant([2.0]), variable)]
    )
    np.testing.assert_allclose(variable, [0.7], rtol=1e-6)


def test_what_could_not_be_built_is_said_again_and_can_be_mended():
    variables = [keras.Variable([[1.0, 2.0]], name="kernel"), keras.Variable([1.0], name="bias")]
    grads, refuse = [tf.ones([1, 2]), tf.ones([1])], [True]

    def is_bias(variable):
        if refuse[0]:
            raise errors.InputError("no such variable")
        return variable.name == "bias"

    optimizer = l2o_tf.LearnedOptimizer("sgd:0.1", route={"sgd:0.5": is_bias})
    for _ in range(2):
        with pytest.raises(errors.InputError, match="no such variable"):
            optimizer.apply(grads, variables)
    refuse[0] = False
    optimizer.apply(grads, variables)
    np.testing.assert_allclose(variables[0], [[0.9, 1.9]], rtol=1e-6)
    np.testing.assert_allclose(variables[1], [0.5], rtol=1e-6)


def test_shapes_that_only_the_running_graph_knows():
    variable = keras.Variable([1.0, 2.0])
    optimizer = learned()
    optimizer.build([variable])

    @tf.function(input_signature=[tf.TensorSpec(None)])
    def step(grad):
        optimizer.apply([grad])

    step(tf.ones([2]))
    np.testing.assert_allclose(variable, [1 - RATE, 2 - RATE], atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError):
        step(tf.ones([3]))


def test_an_integer_is_no_learning_rate():
    for make in (lambda r: learned(learning_rate=r), keras.optimizers.Adam):
        with pytest.raises(ValueError, match="should be float"):
            make(1)


@BOTH
def test_the_configuration_survives_json(make):
    optimizer = (
        make(
            learning_rate=keras.optimizers.schedules.CosineDecay(0.5, 100),
            clipnorm=1.0,
            use_ema=True,
        )
        if make is learned
        else keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(0.5, 100), clipnorm=1.0, use_ema=True
        )
    )
    written = json.dumps(keras.optimizers.serialize(optimizer))
    again = keras.optimizers.deserialize(json.loads(written))
    assert type(again) is type(optimizer) and again.get_config() == optimizer.get_config()
    assert float(again.learning_rate) == 0.5 and again.clipnorm == 1


@pytest.mark.parametrize("name", rules.names())
def test_the_configuration_holds_every_rule_with_its_weights(name):
    rule = rules.create(name)
    for value in rule._variables.values():
        value.assign(value * 2 + 0.1)
    optimizer = l2o_tf.LearnedOptimizer(rule, seed=4)
    written = json.dumps(keras.optimizers.serialize(optimizer))
    again = keras.optimizers.deserialize(json.loads(written))
    assert again.seed == 4 and again.get_config() == optimizer.get_config()
    assert set(again.rule_weights()) == set(rule.weights())
    for key, value in rule.weights().items():
        np.testing.assert_array_equal(again.rule_weights()[key], value)


def test_the_configuration_leads_to_the_same_steps():
    seed = seeds.make_seed(5, "rule")
    rule = rules.create("rnnprop", seed=seed, units=(4,), num_projected=3)
    optimizer = l2o_tf.LearnedOptimizer(rule)
    again = l2o_tf.LearnedOptimizer.from_config(optimizer.get_config())
    np.testing.assert_array_equal(trajectory(again, 3), trajectory(optimizer, 3))


def test_the_configuration_follows_the_weights_that_were_loaded():
    optimizer = l2o_tf.LearnedOptimizer(cases.make_rule("dm"))
    weights = {key: value + 1 for key, value in optimizer.rule_weights().items()}
    for key, value in weights.items():
        optimizer._weights[key].assign(value)
    again = l2o_tf.LearnedOptimizer.from_config(optimizer.get_config())
    for key, value in weights.items():
        np.testing.assert_array_equal(again.rule_weights()[key], value)


@pytest.mark.parametrize("name", ["dm", pytest.param("mlp", marks=pytest.mark.slow)])
def test_without_a_gradient_the_coordinates_wait(name):
    rule = cases.make_rule(name)
    a, b = keras.Variable([0.5, -0.2], name="a"), keras.Variable([[0.1], [0.3]], name="b")
    optimizer = l2o_tf.LearnedOptimizer(rule)
    optimizer.build([a, b])
    expected = {}
    for variable, grads in ((a, [0.1, 0.2, 0.3, 0.4]), (b, [0.1, 0.3])):
        params = [tf.convert_to_tensor(variable)]
        state = rule.init(params)
        for value in grads:
            updates, state = rule.update([tf.fill(variable.shape, value)], state, params)
            params = [params[0] + updates[0]]
        expected[variable.name] = params[0]
    for step, value in enumerate([0.1, 0.2, 0.3, 0.4]):
        # In any order, as Keras' optimizers allow.
        pairs = [(tf.fill(a.shape, value), a)]
        if step in (0, 2):
            pairs = [(tf.fill(b.shape, value), b), *pairs]
        optimizer.apply_gradients(pairs)
    np.testing.assert_allclose(a.numpy(), expected["a"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(b.numpy(), expected["b"], rtol=0, atol=1e-7)


def test_a_rule_of_whole_models():
    rule = rules.create("scale", seed=seeds.make_seed(2, "rule"))
    variables = [keras.Variable([0.5, -0.2]), keras.Variable([[0.1], [0.3], [1.0]])]
    params = [tf.convert_to_tensor(v) for v in variables]
    optimizer = l2o_tf.LearnedOptimizer(rule, seed=6)
    state = rule.init(params, seeds.make_seed(6, "keras optimizer"))
    for step in range(4):
        grads = [tf.cos(step + p) for p in params]
        optimizer.apply_gradients(zip(grads, variables))
        updates, state = rule.update(grads, state, params)
        params = [p + u for p, u in zip(params, updates)]
        for variable, value in zip(variables, params):
            np.testing.assert_allclose(variable.numpy(), value, rtol=0, atol=1e-6)


def test_constraints_are_applied():
    variable = keras.Variable([0.01, 0.5])
    variable.constraint = keras.constraints.NonNeg()
    learned().apply_gradients([(tf.ones([2]), variable)])
    np.testing.assert_allclose(variable.numpy(), [0, 0.5 - RATE], atol=1e-6)


def test_a_model_without_parameters():
    optimizer = learned()
    optimizer.build([])
    assert optimizer.built and optimizer.apply([]) is None


def test_where_rules_come_from(tmp_path, caplog):
    rule = cases.make_rule("rnnprop")
    l2o_tf.save_rule(tmp_path / "mine", rule)
    for source in (tmp_path / "mine", str(tmp_path / "mine"), rule):
        weights = l2o_tf.LearnedOptimizer(source).rule_weights()
        for key, value in rule.weights().items():
            np.testing.assert_array_equal(weights[key], value)
    rate = l2o_tf.LearnedOptimizer("sgd:0.5").rule_weights()["learning_rate"]
    assert float(rate) == 0.5
    assert not caplog.records
    fresh = l2o_tf.LearnedOptimizer("coordinatewise_rnn", seed=3).rule_weights()
    expected = rules.create_learned("coordinatewise_rnn", seeds.make_seed(3, "rule")).weights()
    assert fresh.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(fresh[key], value)
    (record,) = caplog.records
    assert "random weights" in record.getMessage()


def test_a_directory_without_a_rule_does_not_hide_one_with_random_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coordinatewise_rnn").mkdir()
    rule, label, _ = keras_sources.find_rule("coordinatewise_rnn", 0)
    assert (rule.registered_name, label) == ("coordinatewise_rnn", "coordinatewise_rnn")


@pytest.mark.parametrize("source", ["no-such-rule", "adam:fast", "missing/dir", 0.001, rules])
def test_no_such_rule(source):
    with pytest.raises(errors.InputError):
        l2o_tf.LearnedOptimizer(source)


def test_a_rule_that_takes_gradients_elsewhere_is_refused():
    rule = rules.create("scale", use_attention=True)
    with pytest.raises(errors.InputError, match="at other points than its parameters"):
        l2o_tf.LearnedOptimizer(rule)


def test_a_rule_without_a_name_trains_but_cannot_be_saved():
    class Sign(base.UpdateRule):
        def init(self, params, seed=None, weights=None):
            return ()

        def update(self, grads, state, params, weights=None):
            return [-0.1 * tf.sign(g) for g in grads], state

    optimizer, variable = l2o_tf.LearnedOptimizer(Sign()), keras.Variable([1.0, 2.0])
    optimizer.apply_gradients([(tf.constant([3.0, -3.0]), variable)])
    np.testing.assert_allclose(variable.numpy(), [0.9, 2.1], atol=1e-6)
    with pytest.raises(errors.InputError, match="Sign cannot be saved"):
        optimizer.get_config()


def test_a_damaged_configuration():
    config = l2o_tf.LearnedOptimizer(cases.make_rule("dm")).get_config()
    weights = config["rule"]["weights"]
    for change in (
        {"name": "unknown"},
        {"options": {"unit": 3}},
        {"weights": {}},
        {"weights": {**weights, "linear/b": weights["linear/w"]}},
        {"weights": {**weights, "linear/b": "%"}},
    ):
        with pytest.raises(errors.InputError, match="damaged"):
            l2o_tf.LearnedOptimizer.from_config({**config, "rule": {**config["rule"], **change}})


def test_the_text_of_an_optimizer_names_its_rule(tmp_path):
    rule = cases.make_rule("dm")
    l2o_tf.save_rule(tmp_path / "mine", rule)
    optimizer = l2o_tf.LearnedOptimizer(tmp_path / "mine", 0.5)
    count = sum(np.size(w) for w in rule.weights().values())
    expected = f"<LearnedOptimizer mine: dm, {count} weights, learning_rate=0.5>"
    assert repr(optimizer) == expected
    again = l2o_tf.LearnedOptimizer.from_config(optimizer.get_config())
    assert repr(again) == expected
    assert optimizer.get_config()["rule"]["label"] == "mine"
    text = repr(l2o_tf.LearnedOptimizer("sgd:0.5", SCHEDULE))
    expected = "sgd:0.5: sgd, learning_rate=0.5, learning_rate=ExponentialDecay"
    assert text == f"<LearnedOptimizer {expected}>"
    traced = []
    tf.function(lambda: traced.append(repr(optimizer)), autograph=False)()
    assert traced == [repr(optimizer)]


def test_messages_do_not_print_weights():
    config = keras.optimizers.serialize(l2o_tf.LearnedOptimizer(cases.make_rule("rnnprop")))
    assert len(str(config)) < 2000 < len(json.dumps(config))


def test_a_configuration_that_asks_for_all_memory():
    config = l2o_tf.LearnedOptimizer(cases.make_rule("dm")).get_config()
    rule = {**config["rule"], "options": {"units": [15000, 15000]}}
    for damaged in (rule, {k: v for k, v in rule.items() if k != "weights"}):
        with pytest.raises(errors.InputError, match="damaged"):
            l2o_tf.LearnedOptimizer.from_config({**config, "rule": damaged})


def test_the_learning_rate_falls_along_a_cosine():
    variable = keras.Variable([0.0])
    optimizer = l2o_tf.LearnedOptimizer("sgd:1.0", 0.5, total_steps=4)
    places = [0.0]
    for _ in range(5):
        optimizer.apply_gradients([(tf.constant([-1.0]), variable)])
        places.append(float(variable.numpy()[0]))
    expected = 0.25 * (1 + np.cos(np.pi * np.arange(5) / 4))
    np.testing.assert_allclose(np.diff(places), expected, atol=1e-6)
    again = l2o_tf.LearnedOptimizer.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    of_numpy = l2o_tf.LearnedOptimizer("sgd:1.0", 0.5, total_steps=np.int64(4))
    assert of_numpy.get_config() == optimizer.get_config()
    for options in (
        {"learning_rate": SCHEDULE, "total_steps": 4},
        {"total_steps": 0},
        {"total_steps": 2.5},
        {"total_steps": True},
    ):
        with pytest.raises(errors.InputError, match="total_steps"):
            l2o_tf.LearnedOptimizer("sgd:1.0", **options)
    with pytest.raises(errors.InputError, match="max_relative_update='0.1' must be a positive"):
        l2o_tf.LearnedOptimizer("sgd:1.0", max_relative_update="0.1")


def test_the_cosine_counts_minibatches_where_gradients_are_accumulated():
    variable = keras.Variable([0.0])
    optimizer = l2o_tf.LearnedOptimizer("sgd:1.0", total_steps=8, gradient_accumulation_steps=2)
    places = [0.0]
    for _ in range(10):
        optimizer.apply([tf.constant([-1.0])], [variable])
        places.append(float(variable.numpy()[0]))
    # Every second minibatch takes a step, with the rate of its own number: 0.9619, 0.6913, 0.3087,
    # 0.0381 at 1, 3, 5, 7, and 0 at 9, after the end.
    minibatch = np.arange(10)
    rates = (1 + np.cos(np.pi * np.minimum(minibatch, 8) / 8)) / 2
    expected = np.where(minibatch % 2 == 1, rates, 0)
    np.testing.assert_allclose(np.diff(places), expected, rtol=0, atol=1e-6)


def test_what_it_says_of_a_rule_it_says_once(caplog):
    for name, expected in (("nesterov", "takes 0.01 as learning rate"), ("dm", "baseline")):
        keras_sources._say_once.cache_clear()
        caplog.clear()
        for _ in range(2):
            l2o_tf.LearnedOptimizer(name)
        (record,) = caplog.records
        assert expected in record.getMessage()


def test_many_optimizers_are_not_taken_for_one_that_is_traced_too_often(caplog):
    for _ in range(7):
        learned().apply_gradients([(tf.ones([2]), keras.Variable([1.0, 2.0]))])
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]
