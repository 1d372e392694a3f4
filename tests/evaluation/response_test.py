"""Effective learning rates against those that are known."""

import csv

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import artifacts, cli, rules
from l2o_tf import response as command
from l2o_tf.core import errors, files, seeds
from l2o_tf.evaluation import response

SIZES = (1e-4, 1e-2, 1.0)


def test_the_rate_of_sgd_is_its_learning_rate():
    found = response.measure(rules.from_spec("sgd:0.3"), SIZES, 5)
    assert found.drift == 0
    np.testing.assert_allclose(found.rates, [0.3] * 3, rtol=1e-6)


def test_momentum_ends_at_its_geometric_series():
    """Updates add up to rate (1 - 0.9^n) / (1 - 0.9) times the gradient."""
    found = response.measure(rules.from_spec("momentum:0.1"), SIZES, 7)
    np.testing.assert_allclose(found.rates, [1 - 0.9**7] * 3, rtol=1e-5)


def test_the_rate_of_adam_falls_with_the_gradient():
    found = response.measure(rules.from_spec("adam:0.01"), SIZES, 50)
    epsilon = 1e-8 / np.sqrt(1 - 0.999**50)  # Added before the correction of the bias.
    np.testing.assert_allclose(found.rates, 0.01 / (np.array(SIZES) + epsilon), rtol=1e-5)


def test_drift_is_the_update_without_a_gradient():
    """RNNprop's inputs are 0 then, so that its LSTM runs by itself."""
    rule = rules.create("rnnprop", seed=seeds.make_seed(3, "rule"))
    weights = rule.weights()
    weights["linear/b"] = weights["linear/b"] + 0.5
    still = {name: 0 * value for name, value in weights.items() if name != "linear/b"}
    rule.assign({**still, "linear/b": weights["linear/b"]})
    found = response.measure(rule, SIZES, 3)
    np.testing.assert_allclose(found.drift, 0.01 * np.tanh(0.5), rtol=1e-5)
    np.testing.assert_array_equal(found.rates, [0, 0, 0])


def test_the_command_measures_snapshots_and_writes_them(tmp_path, capsys):
    rule = rules.create("dm", seed=seeds.make_seed(1, "rule"))
    artifacts.save_rule(tmp_path / "run", rule)
    arrays = {name: np.asarray(value) for name, value in rule.weights().items()}
    files.write_arrays(tmp_path / "run" / "snapshots" / "epoch_000025.npz", arrays)
    out = tmp_path / "out.csv"
    command.main(
        command.ResponseConfig(
            rules=("slow=sgd:0.1", f"same={tmp_path / 'run'}"),
            snapshots=(str(tmp_path / "run"),),
            sizes=SIZES,
            num_steps=4,
            out=str(out),
        )
    )
    rows = list(csv.reader(out.read_text().splitlines()))
    assert rows[0] == ["rule", "drift", "rate@0.0001", "rate@0.01", "rate@1"]
    assert [row[0] for row in rows[1:]] == ["slow", "same", "run, epoch 25"]
    assert rows[2][1:] == rows[3][1:]
    np.testing.assert_allclose([float(cell) for cell in rows[1][2:]], [0.1] * 3, rtol=1e-6)
    assert "rate at 0.01" in capsys.readouterr().out
    command.main(command.ResponseConfig(rules=("sgd:0.1",), num_steps=1))
    assert capsys.readouterr().out.splitlines()[1].split() == ["sgd:0.1", "0.0e+00", *["0.1"] * 5]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "--rules and --snapshots are empty"),
        ({"rules": ("dm",), "sizes": (0.0,)}, "--sizes=0.0 must be from 1e-37 to 1e37"),
        ({"rules": ("dm",), "sizes": (1e-50,)}, "--sizes=1e-50 must be from 1e-37"),
        ({"rules": ("dm",), "num_steps": 3 * 10**9}, "--num_steps=3000000000 must be between"),
        ({"rules": ("dm",), "num_steps": 0}, "--num_steps=0 must be at least 1"),
    ],
)
def test_wrong_flags_are_named(flags, message):
    with pytest.raises(errors.InputError, match=message):
        command.ResponseConfig(**flags)


@pytest.mark.parametrize("name", ["mlp", "mlp_full"])
def test_a_rule_that_leaves_vectors_to_adam_is_refused(name, capsys):
    """The one vector of the measurement would be Adam's, the perceptron not called."""
    with pytest.raises(SystemExit, match="^2$"), cli.report_input_errors():
        command.main(command.ResponseConfig(rules=("sgd:0.1", f"mine={name}")))
    out, err = capsys.readouterr()
    assert not out and "mine has no rate of its own" in err and len(err.splitlines()) == 1


def test_an_mlp_of_one_matrix_alone_moves_by_its_learning_rate():
    """Why it is refused also without Adam: beside others a gradient moves by something else."""
    rule = rules.create("mlp", seed=seeds.make_seed(3, "rule"), start="momentum")
    rates = {}
    for name, sizes in (("alone", [1e-5]), ("beside", [1e-5, 1.0])):
        grads = [tf.constant(sizes)[:, None]]
        params = [tf.zeros_like(grads[0])]
        state = rule.init(params)
        for _ in range(30):
            updates, state = rule.update(grads, state, params)
            params = [params[0] + updates[0]]
        rates[name] = -updates[0].numpy()[0, 0] / 1e-5
    np.testing.assert_allclose(rates["alone"], rule.learning_rate / 1e-5, rtol=1e-3)
    assert rates["beside"] < 0.2 * rates["alone"]
    with pytest.raises(errors.InputError, match="mlp has no rate of its own"):
        response.measure(rule, SIZES, 3)


def test_a_snapshot_of_an_mlp_is_refused_by_its_name(tmp_path):
    rule = rules.create("mlp")
    artifacts.save_rule(tmp_path / "run", rule)
    arrays = {name: np.asarray(value) for name, value in rule.weights().items()}
    files.write_arrays(tmp_path / "run" / "snapshots" / "epoch_000025.npz", arrays)
    with pytest.raises(errors.InputError, match="run, epoch 25 has no rate of its own"):
        command.main(command.ResponseConfig(snapshots=(str(tmp_path / "run"),)))


def test_a_tuned_rule_needs_an_optimizee():
    with pytest.raises(errors.InputError, match="tuned:adam has no rate"):
        command.main(command.ResponseConfig(rules=("tuned:adam",)))
