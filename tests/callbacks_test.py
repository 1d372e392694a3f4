import keras
import numpy as np
import pytest
import tensorflow as tf

import l2o_tf
from l2o_tf import callbacks
from l2o_tf.core import errors
from tests import keras_cases as cases

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def read_events(directory):
    """The scalars {tag: {step: value}}."""
    values = {}
    for path in sorted(directory.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                values.setdefault(value.tag, {})[event.step] = number
    return values


def fit(model, *extra):
    inputs, labels = cases.data()
    model.fit(inputs, labels, cases.BATCH_SIZE, shuffle=False, verbose=0, callbacks=list(extra))


@pytest.mark.parametrize("policy", cases.POLICIES)
def test_against_numpy(policy, tmp_path):
    model = cases.make_model(policy)
    model.compile(l2o_tf.LearnedOptimizer(cases.make_rule("rnnprop"), 0.5), LOSS)
    fit(model)  # Without the callback: the step is compiled already when it comes.
    before = [v.numpy() for v in model.trainable_variables]
    inputs, labels = cases.batches()[0]
    with tf.GradientTape() as tape:
        loss = cases.mean_loss(model, inputs, labels) * cases.LOSS_SCALE
    grads = [g.numpy() / cases.LOSS_SCALE for g in tape.gradient(loss, model.trainable_variables)]
    model.fit(
        inputs,
        labels,
        cases.BATCH_SIZE,
        verbose=0,
        callbacks=[callbacks.UpdateStatistics(tmp_path, every=1)],
    )
    updates = [v.numpy() - b for v, b in zip(model.trainable_variables, before)]
    events = read_events(tmp_path)
    flat = [np.concatenate([a.ravel() for a in arrays]) for arrays in (grads, updates)]
    names = ["model", *(v.path for v in model.trainable_variables)]
    for name, g, u in zip(names, [flat[0], *grads], [flat[1], *updates]):
        norms = np.linalg.norm(g), np.linalg.norm(u)
        assert norms[1] > 1e-4
        for tag, value in {
            "gradient_norm": norms[0],
            "update_norm": norms[1],
            "update_cosine": -np.sum(g * u) / norms[0] / norms[1],
        }.items():
            assert list(events[f"{tag}/{name}"]) == [cases.NUM_STEPS + 1]
            assert events[f"{tag}/{name}"][cases.NUM_STEPS + 1] == pytest.approx(value, rel=2e-3)


def test_gradient_descent_has_cosine_1_and_events_come_when_due(tmp_path):
    model = cases.make_model()
    model.compile(l2o_tf.LearnedOptimizer("sgd:0.1"), LOSS)
    fit(model, callbacks.UpdateStatistics(tmp_path, every=2))
    events = read_events(tmp_path)
    assert list(events["update_cosine/model"]) == [2, 4]
    assert list(events["update_cosine/model"].values()) == pytest.approx([1, 1])
    for step, norm in events["gradient_norm/model"].items():
        assert events["update_norm/model"][step] == pytest.approx(0.1 * norm)


def test_updates_come_without_weight_decay():
    variable = keras.Variable([4.0])
    optimizer = l2o_tf.LearnedOptimizer("sgd:0.1", weight_decay=0.5)
    seen = []
    optimizer.monitor = lambda *of_step: seen.append(of_step)
    optimizer.apply([tf.constant([1.0])], [variable])
    (((gradient,), (update,)),) = seen
    np.testing.assert_allclose([gradient, update], [[1.0], [-0.1]], rtol=1e-6)
    # Decay takes a half of 4.
    np.testing.assert_allclose(variable, [4 - 2 - 0.1], rtol=1e-6)


@pytest.mark.parametrize("kind", ["input", "deferred"])
def test_compiled_by_xla(kind, tmp_path):
    """As Keras does it by itself where there is a GPU."""
    written = []
    for mode in (False, True):
        model = cases.make_model(kind=kind)
        model.compile(l2o_tf.LearnedOptimizer("sgd:0.1"), LOSS, jit_compile=mode)
        fit(model, callbacks.UpdateStatistics(tmp_path / str(mode), every=1))
        events = read_events(tmp_path / str(mode))
        written.append([list(values.values()) for values in events.values()])
    assert np.shape(written[0]) == (1 + 3 * 5, cases.NUM_STEPS)
    np.testing.assert_allclose(*written, rtol=1e-5)


def test_training_is_the_same_with_it_and_ends_without_it(tmp_path):
    plain, logged = cases.make_model(), cases.make_model()
    for model in (plain, logged):
        model.compile(l2o_tf.LearnedOptimizer(cases.make_rule("dm")), LOSS)
    fit(plain)
    fit(logged, callbacks.UpdateStatistics(tmp_path, every=1))
    np.testing.assert_array_equal(cases.flat(logged), cases.flat(plain))
    assert logged.optimizer.monitor is None
    written = read_events(tmp_path)
    fit(logged)
    assert read_events(tmp_path) == written


@pytest.mark.parametrize("kind", ["deferred", "train_step"])
def test_a_model_that_is_built_in_its_first_step(kind, tmp_path):
    written = []
    for name, model in (("late", cases.make_model(kind=kind)), ("early", cases.make_model())):
        model.compile(l2o_tf.LearnedOptimizer("sgd:0.1"), LOSS)
        fit(model, callbacks.UpdateStatistics(tmp_path / name, every=2))
        events = read_events(tmp_path / name)
        assert events.pop("skipped_steps") == {2: 0, 4: 0}
        written.append([list(values.values()) for values in events.values()])
    assert len(written[0]) == 3 * 5
    np.testing.assert_allclose(*written, rtol=1e-5)


def test_numbers_stand_under_the_names_of_their_variables_after_a_layer_was_frozen(tmp_path):
    model = cases.make_model()
    model.compile(l2o_tf.LearnedOptimizer("sgd:0.1"), LOSS)
    fit(model)
    names = [v.path for v in model.trainable_variables]
    model.layers[0].trainable = False
    fit(model, callbacks.UpdateStatistics(tmp_path, every=1))
    events = read_events(tmp_path)
    norms = [list(events[f"gradient_norm/{name}"].values()) for name in names]
    np.testing.assert_array_equal(norms[:2], np.zeros([2, cases.NUM_STEPS]))
    assert np.min(norms[2:]) > 0
    whole = np.linalg.norm(norms, axis=0)
    np.testing.assert_allclose(whole, list(events["gradient_norm/model"].values()), rtol=1e-5)


def test_what_a_learned_rule_would_do_to_a_frozen_layer_is_no_update(tmp_path):
    model = cases.make_model()
    model.compile(l2o_tf.LearnedOptimizer(cases.make_rule("dm")), LOSS)
    fit(model)
    variables = model.trainable_variables
    model.layers[0].trainable = False
    before = [v.numpy() for v in variables]
    inputs, labels = cases.data()
    statistics = callbacks.UpdateStatistics(tmp_path, every=1)
    model.fit(inputs, labels, len(inputs), verbose=0, callbacks=[statistics])
    moved = [np.linalg.norm(v.numpy() - b) for v, b in zip(variables, before)]
    assert moved[:2] == [0, 0] and min(moved[2:]) > 1e-4
    names = ["model", *(v.path for v in variables)]
    norms = [read_events(tmp_path)[f"update_norm/{name}"][cases.NUM_STEPS + 1] for name in names]
    np.testing.assert_allclose(norms, [np.linalg.norm(moved), *moved], rtol=1e-3)


def test_under_a_strategy_of_one_device(tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = cases.make_model()
        model.compile(l2o_tf.LearnedOptimizer("sgd:0.1"), LOSS)
    fit(model, callbacks.UpdateStatistics(tmp_path, every=2))
    assert list(read_events(tmp_path)["update_norm/model"]) == [2, 4]


def test_wrong_use(tmp_path):
    with pytest.raises(errors.InputError, match="every 0 steps"):
        callbacks.UpdateStatistics(tmp_path, every=0)
    model = cases.make_model()
    model.compile("adam", LOSS)
    with pytest.raises(errors.InputError, match="compiled with Adam"):
        fit(model, callbacks.UpdateStatistics(tmp_path))
