"""Says whether this package can compute here: `python -m l2o_tf.doctor`."""

import dataclasses
import importlib.metadata
import math
import platform

from l2o_tf import cli
from l2o_tf.core import errors, processes
from l2o_tf.core.flags import CommandFlags
from l2o_tf.run.device_flags import DeviceFlags

DESCRIPTION = """\
Prints versions and devices, and runs an unroll of L2O-DM that XLA has compiled on each device: its
losses must be finite, and those of the CPU. Ends with exit code 2 and one line if a device cannot
do that.

usage: python -m l2o_tf.doctor [flags]"""

_PACKAGES = ("l2o-tf", "tensorflow", "keras", "dm-sonnet", "numpy", "jax")
_STEPS, _TOLERANCE = 20, 1e-2


@dataclasses.dataclass(frozen=True)
class DoctorConfig(CommandFlags, DeviceFlags):
    """The flags of the command."""


def main(config: DoctorConfig) -> None:
    """Runs the command.

    Raises:
        InputError: if a device cannot run a compiled unroll.
    """
    cli.prepare_as(config)
    import tensorflow as tf

    from l2o_tf.core import devices

    build = tf.sysconfig.get_build_info()
    facts = {
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "CUDA of tensorflow": build.get("cuda_version", "none"),
        "CPUs": str(processes.num_cpus()),
        "TensorFloat-32": "on" if config.tf32 else "off",
        "deterministic": "yes" if config.deterministic else "no",
        "devices": devices.describe(),
    }
    cli.show("\n".join(f"{name}: {value}" for name, value in facts.items()))
    expected = None
    for device in sorted(tf.config.list_logical_devices(), key=lambda device: device.name):
        name = device.name.removeprefix("/device:")
        if device.device_type not in ("CPU", "GPU", "TPU"):
            continue
        losses = _unroll(name)
        if not all(map(math.isfinite, losses)):
            raise errors.InputError(f"{name}: a compiled unroll has losses that are not finite")
        expected = losses if expected is None else expected
        worst = max(abs(a - b) / abs(b) for a, b in zip(losses, expected))
        if worst > _TOLERANCE:
            raise errors.InputError(
                f"{name}: a compiled unroll has losses that are {worst:.0%} off those of the CPU"
            )
        cli.show(f"{name}: a compiled unroll runs, last loss {losses[-1]:.6g}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _unroll(device: str) -> list[float]:
    import tensorflow as tf

    from l2o_tf import optimizees, rules
    from l2o_tf.core import loops, seeds
    from l2o_tf.training import unrolls

    rule = rules.create("dm", seed=seeds.make_seed(0, "rule"))
    optimizee, seed = optimizees.create("simple"), seeds.make_seed(0, "doctor")

    @loops.compiled
    def unroll(weights, trajectory):
        batches = unrolls.random_batches(optimizee, seed, 0)
        return unrolls.unroll(rule, optimizee, trajectory, batches, _STEPS, weights).losses

    try:
        with tf.device(device):
            start = unrolls.start(optimizee, rule, seed)
            return unroll(rule.weights(), start).numpy().tolist()
    except tf.errors.OpError as error:
        reason = errors.reason(error)
        raise errors.InputError(f"{device}: a compiled unroll does not run: {reason}") from None


def command() -> None:
    """The command line."""
    cli.run(DoctorConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
