"""Every way to train with Keras takes the steps of the functional rule."""

import functools
import itertools
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import keras_optimizer
from tests import keras_cases as cases

REPOSITORY = pathlib.Path(__file__).parents[1]
# Each pair of values occurs in one of them.
QUICK = {
    "dm/fit/eager/float32",
    "dm/custom/graph/mixed_float16",
    "dm/fit/jit/mixed_float16",
    "rnnprop/custom/eager/mixed_float16",
    "rnnprop/fit/graph/float32",
    "rnnprop/custom/jit/float32",
    "adam/fit/eager/mixed_float16",
    "adam/custom/graph/float32",
    "adam/custom/jit/mixed_float16",
}
QUICK_ON_TWO_DEVICES = [
    "dm/fit/graph/mixed_float16",
    "rnnprop/custom/graph/float32",
    "adam/fit/eager/float32",
]


def names(modes):
    return ["/".join(c) for c in itertools.product(cases.RULES, cases.LOOPS, modes, cases.POLICIES)]


@functools.cache
def functional(rule, policy, mode):
    return cases.functional(rule, policy, mode)


def check(case, params, tolerance):
    rule, _, mode, policy = case.split("/")
    expected = functional(rule, policy, mode if policy == "mixed_float16" else "eager")
    assert np.abs(expected - cases.flat(cases.make_model(policy))).max() > 5e-3
    np.testing.assert_allclose(params, expected, rtol=0, atol=tolerance, err_msg=case)


@pytest.mark.parametrize(
    "case",
    [
        case if case in QUICK else pytest.param(case, marks=pytest.mark.slow)
        for case in names(cases.MODES)
    ],
)
def test_one_device(case):
    params = cases.with_optimizer(*case.split("/"), tf.distribute.get_strategy())
    check(case, params, 2e-7)


QUICK_KINDS = {
    "dm/fit/graph/float32/deferred",
    "rnnprop/custom/graph/mixed_float16/subclassed",
    "adam/fit/eager/float32/train_step",
    "adam/fit/jit/float32/deferred",
    "adam/custom/eager/float32/functional",
    "adam/fit/graph/mixed_float16/built",
}


@pytest.mark.parametrize("case", sorted(QUICK_KINDS))
def test_ways_to_write_a_model(case):
    *parts, kind = case.split("/")
    params = cases.with_optimizer(*parts, tf.distribute.get_strategy(), kind)
    check("/".join(parts), params, 2e-7)


def in_another_process(tmp_path, num_devices, chosen):
    """Keeps what is compiled for so many cases out of this process."""
    path = tmp_path / "results.npz"
    command = [sys.executable, "-m", "tests.keras_cases", path, str(num_devices), *chosen]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    with np.load(path) as results:
        assert set(results.files) == set(chosen)
        for case in chosen:
            # Half of the batch in float16 on each device, then their sum, rounds differently.
            rounded = num_devices > 1 and "float16" in case
            check("/".join(case.split("/")[:4]), results[case], 1e-4 if rounded else 2e-7)


@pytest.mark.slow
@pytest.mark.parametrize("mode", cases.MODES)
@pytest.mark.parametrize("rule", cases.RULES)
def test_every_way_to_write_a_model(tmp_path, rule, mode):
    chosen = [f"{case}/{kind}" for case in names([mode]) for kind in cases.KINDS[1:]]
    in_another_process(tmp_path, 1, [case for case in chosen if case.startswith(rule)])


@pytest.mark.slow
def test_two_devices(tmp_path):
    in_another_process(tmp_path, 2, QUICK_ON_TWO_DEVICES)


@pytest.mark.slow
@pytest.mark.parametrize("rule", cases.RULES)
def test_two_devices_in_every_way(tmp_path, rule):
    chosen = [case for case in names(cases.MODES_ON_TWO_DEVICES) if case.startswith(rule)]
    in_another_process(tmp_path, 2, chosen)


def test_layers_that_xla_cannot_compile_train_without_it():
    layers = [keras.layers.RandomRotation(0.1), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`") as caught:
        model.compile(keras_optimizer.LearnedOptimizer("rnnprop"), "mse", jit_compile=True)
        model.fit(np.ones([8, 4, 4, 1], "float32"), np.ones([8, 3], "float32"), verbose=0)
    assert len(caught) == 1 and np.isfinite(cases.flat(model)).all()
