"""python -m l2o_tf.doctor: what it prints of a machine that can compute, and of one that cannot."""

import math
import sys

import pytest
import tensorflow as tf

from l2o_tf import cli, doctor
from l2o_tf.training import unrolls


def run(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["doctor", *flags])
    with pytest.raises(SystemExit) as exit:
        doctor.command()
    return exit.value.code


def test_versions_and_devices_are_printed_and_an_unroll_runs_on_each(monkeypatch, capsys):
    assert run(monkeypatch) == 0
    printed = capsys.readouterr().out
    assert f"tensorflow: {tf.__version__}\n" in printed and "TensorFloat-32: off\n" in printed
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    for device in tf.config.list_logical_devices("CPU"):
        name = device.name.removeprefix("/device:")
        assert f"{name}: a compiled unroll runs, last loss " in printed


def broken(*args):
    raise tf.errors.InternalError(None, None, "no\ndriver")


def test_a_device_that_cannot_compute_is_one_line_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr(unrolls, "start", broken)
    assert run(monkeypatch) == 2
    error = capsys.readouterr().err
    assert error == "error: CPU:0: a compiled unroll does not run: no driver\n"


@pytest.mark.parametrize(
    "cpu, gpu, error",
    [
        ([1.0, 0.5], [1.0, 0.6], "GPU:0: a compiled unroll has losses that are 20% off those of"),
        ([1.0, 0.5], [1.0, math.nan], "GPU:0: a compiled unroll has losses that are not finite\n"),
        ([1.0, math.nan], [1.0, 0.5], "CPU:0: a compiled unroll has losses that are not finite\n"),
        ([math.inf, 0.5], [1.0, 0.5], "CPU:0: a compiled unroll has losses that are not finite\n"),
    ],
)
def test_other_losses_than_those_of_the_cpu_are_an_error(monkeypatch, capsys, cpu, gpu, error):
    found = iter([cpu, gpu])
    two = [tf.config.LogicalDevice(f"/device:{kind}:0", kind) for kind in ("CPU", "GPU")]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda *args: two)
    monkeypatch.setattr(doctor, "_unroll", lambda name: next(found))
    assert run(monkeypatch) == 2
    assert capsys.readouterr().err.startswith(f"error: {error}")


def test_the_flags_of_devices_are_off_unless_they_are_given():
    for argv, expected in (([], (False, False)), (["--tf32", "--deterministic"], (True, True))):
        config = cli.parse(doctor.DoctorConfig, ["doctor", *argv])
        assert (config.tf32, config.deterministic) == expected
