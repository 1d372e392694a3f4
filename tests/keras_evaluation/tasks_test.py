import dataclasses
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import errors
from l2o_tf.keras_evaluation import config, task_data, tasks, training
from l2o_tf.keras_optimizer import LearnedOptimizer

OFFLINE = {
    "text_lstm": 72_353,
    "tabular": 4801,
    "digits_convnet": 15_270,
    "denoiser": 9873,
    "char_gru": 49_824,
    "char_transformer": 67_488,
}
ON_IMAGES = {
    "mnist_convnet": 34_826,
    "cifar_resnet": 77_946,
    "autoencoder": 209_968,
    "wide_mlp": 407_050,
    "deep_mlp": 80_010,
    "cifar_convnet": 26_378,
}


def size(task):
    return sum(np.prod(v.shape) for v in task.model.trainable_variables)


@pytest.mark.parametrize("name", OFFLINE)
def test_a_task_has_the_size_that_it_says(name):
    task = tasks.create(name)
    assert size(task) == OFFLINE[name]
    assert f"{size(task):,} parameters" in tasks.TASKS.get(name).__doc__
    assert len(task.train[0]) == len(task.train[1]) >= task.batch_size
    task.model.compile(loss=task.loss)
    assert np.isfinite(task.model.test_on_batch(task.train[0][:2], task.train[1][:2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_IMAGES)
def test_a_task_on_images_has_the_size_that_it_says(name):
    try:
        task = tasks.create(name)
    except errors.InputError as error:
        pytest.skip(str(error))
    assert size(task) == ON_IMAGES[name]
    assert f"{size(task):,} parameters" in tasks.TASKS.get(name).__doc__


def test_the_flags_name_all_tasks():
    assert set(OFFLINE) | set(ON_IMAGES) == set(tasks.names())
    (field,) = [f for f in dataclasses.fields(config.KerasReportConfig) if f.name == "tasks"]
    words = field.metadata["help"].replace(",", "").split()
    assert set(tasks.names()) <= {*field.default, *words}
    assert set(field.default) <= set(tasks.names())


def test_words_tell_the_class_as_often_as_they_should():
    (x, y), (x_test, y_test) = task_data.word_texts(4000, 1000, num_words=200, length=40)
    assert x.shape == (4000, 40) and len(x_test) == len(y_test) == 1000 and x.max() < 200
    # Class 0 prefers even words by 3 to 2.
    assert np.mean(x[y == 0] % 2) == pytest.approx(0.4, abs=0.005)
    assert np.mean(x[y == 1] % 2) == pytest.approx(0.6, abs=0.005)


def test_the_table_is_friedmans_function_with_noise():
    (x, y), _ = task_data.table(20_000, 10)
    u = x / np.sqrt(12) + 0.5
    clean = 10 * np.sin(np.pi * u[:, 0] * u[:, 1]) + 20 * (u[:, 2] - 0.5) ** 2
    clean += 10 * u[:, 3] + 5 * u[:, 4]
    residuals = y[:, 0] - (clean - clean.mean()) / clean.std()
    assert np.std(residuals) == pytest.approx(0.1, rel=0.03)
    assert np.std(x, axis=0) == pytest.approx(np.ones(8), rel=0.02)


def test_characters_are_followed_by_the_next_ones():
    (x, y), (x_test, _) = task_data.characters(50, 20, 16)
    assert x.shape == y.shape == (50, 16) and x_test.shape == (20, 16)
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    assert 0 <= x.min() and x.max() < task_data.NUM_CHARACTERS


def regression(num_examples=12, batch_size=12):
    """y = 3 x, least squares: gradient descent has a closed form."""
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False)])
    x = np.linspace(-1, 1, num_examples, dtype=np.float32)[:, None]
    return tasks.Task(model, "mean_squared_error", (x, 3 * x), (x, 3 * x), batch_size, 5)


def test_a_training_is_that_of_the_formula():
    task = regression()
    run = training.train(task, LearnedOptimizer("sgd:0.5"), seed=3, num_steps=5)
    training.initialize(task.model, 3)
    error = 3 - float(task.model.trainable_variables[0].numpy()[0, 0])
    mean_square = np.mean(task.train[0] ** 2)
    errors_of_steps = error * (1 - mean_square) ** np.arange(6)
    expected = mean_square * errors_of_steps**2
    np.testing.assert_allclose(run.losses, expected[:5], rtol=1e-4)
    assert run.validation_loss == pytest.approx(expected[5], rel=1e-4)
    assert run.diverged_at is None and run.num_parameters == 1
    assert run.bytes_per_parameter == 0 and run.skipped_steps == 0


def test_a_training_ends_where_it_diverges():
    run = training.train(regression(), keras.optimizers.SGD(1e20), seed=0, num_steps=9)
    assert run.diverged_at == len(run.losses) + 1 < 9
    assert run.validation_loss is None


def without_input(**options):
    """A model whose variables are made when it is first called."""
    layer = keras.layers.Dense(1, **options)
    x = np.linspace(-1, 1, 22, dtype=np.float32)[:, None]
    data = (x[:15], 3 * x[:15]), (x[15:], 3 * x[15:])
    return tasks.Task(keras.Sequential([layer]), "mean_squared_error", *data, 6, 5)


def test_a_model_without_an_input_is_built_before_it_is_trained():
    runs = [
        training.train(task, keras.optimizers.SGD(0.1), seed=3, num_steps=5)
        for task in (without_input(), without_input())
    ]
    assert runs[0].num_parameters == 2 and len(runs[0].losses) == 5
    assert runs[0].losses == runs[1].losses and runs[0].validation_loss > 0
    other = training.train(without_input(), keras.optimizers.SGD(0.1), seed=4, num_steps=1)
    assert other.losses[0] != runs[0].losses[0]


def test_a_frozen_model_is_refused_before_it_is_trained():
    task, steps = without_input(trainable=False), []
    with pytest.raises(errors.InputError, match="has no trainable variables"):
        training.train(task, keras.optimizers.SGD(0.1), 0, 5, steps.append)
    assert not steps


def test_a_seed_is_that_of_a_with_block_alone():
    def draws():
        drawn = [random.random(), np.random.rand(), float(tf.random.uniform([]))]
        return [*drawn, *keras.layers.Dense(3).kernel_initializer([2, 3]).numpy().flat]

    def drawn(seed, purpose="test"):
        with training.seeded(seed, purpose):
            return draws()

    assert drawn(1) == drawn(1)
    for other in (drawn(2), drawn(1, "other")):
        assert not set(other) & set(drawn(1))
    random.seed(5), np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5), np.random.seed(5)
    drawn(1)
    assert (random.random(), np.random.rand()) == expected
    # Without a seed before there is none after; with one, it is that.
    tf.random.set_seed(7)
    first = float(tf.random.uniform([]))
    tf.random.set_seed(7)
    drawn(1)
    assert float(tf.random.uniform([])) == first
    tf.random.set_seed(None)
    after = []
    for _ in range(2):
        drawn(1)
        after.append(float(tf.random.uniform([])))
    assert after[0] != after[1]


def test_batches_are_passes_over_all_examples():
    found = list(training.batches(regression(12, batch_size=5), seed=1, num_steps=4))
    assert [len(indices) for indices in found] == [5] * 4
    assert len({*found[0], *found[1]}) == len({*found[2], *found[3]}) == 10
    again = list(training.batches(regression(12, batch_size=5), seed=1, num_steps=4))
    np.testing.assert_array_equal(found, again)
    other = list(training.batches(regression(12, batch_size=5), seed=2, num_steps=4))
    assert (np.array(found) != other).any()


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: keras.optimizers.Adam(), 8),
        (lambda: keras.optimizers.SGD(momentum=0.9), 4),
        (lambda: LearnedOptimizer("adam:0.001"), 8),
        (lambda: LearnedOptimizer("rnnprop_cl_il"), 328),
        (lambda: LearnedOptimizer("rnnprop_cl_il", total_steps=9), 328),
    ],
)
def test_the_memory_of_an_optimizer(make, expected):
    model = keras.Sequential([keras.Input([50]), keras.layers.Dense(40, use_bias=False)])
    optimizer = make()
    optimizer.build(model.trainable_variables)
    assert training.state_bytes(optimizer) / 2000 == pytest.approx(expected, abs=0.01)


def test_dropout_and_initial_values_follow_from_the_seed():
    def values(seed):
        model = keras.Sequential(
            [keras.Input([3]), keras.layers.Dense(4), keras.layers.Dropout(0.5)]
        )
        training.initialize(model, seed)
        return [v.numpy() for v in model.variables]

    assert all(np.array_equal(a, b) for a, b in zip(values(1), values(1)))
    first, second = values(1), values(2)
    assert not np.array_equal(first[0], second[0]) and not np.array_equal(first[2], second[2])
