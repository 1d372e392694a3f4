"""What devices are called, and how they compute."""

import pytest
import tensorflow as tf

from l2o_tf.core import devices

WORKER = "/job:worker/replica:0/task:{}/device:CPU:0"


@pytest.mark.parametrize(
    "logical, names",
    [
        (["/device:CPU:0"], ["CPU:0"]),
        (["/device:CPU:0", "/device:CPU:1"], ["CPU:0", "CPU:1"]),
        (["/device:CPU:0", "/device:GPU:0", "/device:GPU:1"], ["GPU:0", "GPU:1"]),
        ([WORKER.format(0), WORKER.format(1)], ["CPU:0"]),
    ],
)
def test_gpus_are_named_if_there_are_any_without_their_processes(monkeypatch, logical, names):
    found = [tf.config.LogicalDevice(name, name[-5:-2]) for name in logical]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: found)
    assert devices.names() == names
    assert devices.describe() == ("CPU" if names == ["CPU:0"] else " and ".join(names))


def test_products_are_exact_unless_rounding_is_asked_for():
    for tf32 in (True, False):
        devices.set_up(deterministic=False, tf32=tf32)
        assert tf.config.experimental.tensor_float_32_execution_enabled() == tf32


def test_operations_give_the_same_bits_only_where_that_is_asked_for(monkeypatch):
    asked = []
    experimental = tf.config.experimental
    # Nothing can undo it within a process.
    monkeypatch.setattr(experimental, "enable_op_determinism", lambda: asked.append(True))
    tf32 = experimental.tensor_float_32_execution_enabled()
    devices.set_up(deterministic=False, tf32=tf32)
    assert not asked
    devices.set_up(deterministic=True, tf32=tf32)
    assert asked == [True]
