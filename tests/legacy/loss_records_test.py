"""Legacy loss records come out as the numbers that went in."""

import pickle

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.legacy import loss_records


def _read(folder, content, protocol=3):
    path = folder / "L2L_eval_loss_record.pickle-mnist"
    path.write_bytes(pickle.dumps(content, protocol))
    return loss_records.read_runs(path)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "kind", [float, np.float32, np.float64, np.array, lambda value: np.array(value, np.float32)]
)
def test_every_kind_of_number_is_read_exactly(tmp_path, kind, protocol):
    losses = [kind(value) for value in (2.3, 1e-30, 0.1, float("inf"), float("nan"))]
    (record,) = _read(tmp_path, losses, protocol)
    assert record.dtype == np.float64
    np.testing.assert_array_equal(record, [float(value) for value in losses])


def test_a_record_of_an_evaluation_is_read_whole(tmp_path):
    losses = list(np.random.default_rng(0).lognormal(size=10_000).astype(np.float32))
    (record,) = _read(tmp_path, losses)
    assert record.shape == (10_000,)
    np.testing.assert_array_equal(record, np.array(losses, np.float64))


@pytest.mark.parametrize(
    "content",
    [
        [np.array([1.0, 2.0]), np.array([3.0])],
        [[1.0, 2.0], [3.0]],
        [np.float32([1, 2]), [np.float64(3)]],
    ],
)
def test_records_of_several_runs(tmp_path, content):
    runs = _read(tmp_path, content)
    assert [run.tolist() for run in runs] == [[1, 2], [3]]
    assert all(run.dtype == np.float64 for run in runs)


def test_records_that_are_arrays(tmp_path):
    assert [run.tolist() for run in _read(tmp_path, np.float32([[1, 2], [3, 4]]))] == [
        [1, 2],
        [3, 4],
    ]
    assert [run.tolist() for run in _read(tmp_path, np.array([1.0, 2.0]))] == [[1, 2]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "it holds nothing, expected a list of losses"),
        ({"loss": [1.0]}, "it holds a dict, expected a list of losses"),
        (
            np.ones([1, 1, 1]),
            "it holds an array float64 [1, 1, 1], expected floats [num_steps] or"
            " [num_runs, num_steps]",
        ),
        (
            np.ones(3, int),
            "it holds an array int64 [3], expected floats [num_steps] or [num_runs, num_steps]",
        ),
        ([1.0, "2"], "entry 1 is a str, expected a float"),
        ([1.0, None], "entry 1 is a NoneType, expected a float"),
        ([True], "entry 0 is a bool, expected a float"),
        ([10**400], "entry 0 is a int, expected a float"),
        ([1.0, 2.0, np.ones(1)], "entry 2 is a ndarray, expected a float"),
        ([1.0, [1.0]], "entry 1 is a list, expected a float"),
        ([[1.0], ["2"]], "in run 1, entry 0 is a str, expected a float"),
        ([np.ones([1, 1])], "entry 0 is a ndarray, expected a float"),
    ],
)
def test_anything_else_is_refused(tmp_path, content, reason):
    with pytest.raises(errors.InputError) as info:
        _read(tmp_path, content)
    assert str(info.value).startswith(f"cannot use the loss record {tmp_path}")
    assert str(info.value).endswith(reason)
