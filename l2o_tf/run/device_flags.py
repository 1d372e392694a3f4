"""The flags of what computes: kinds of devices, and how many of them train together."""

import dataclasses

from l2o_tf.core.flags import flag, require

_DEVICES, _REPLICAS = "Devices", "Trajectories at once"
STRATEGIES = ("none", "mirrored", "multi_worker")


@dataclasses.dataclass(frozen=True)
class DeviceFlags:
    """How devices compute; see `core.devices.set_up`."""

    deterministic: bool = flag(
        False,
        "Let TensorFlow use deterministic operations only: the same bits each time on a GPU as "
        "well, at some cost in speed. On a CPU they are the same anyway.",
        _DEVICES,
    )
    tf32: bool = flag(
        False,
        "Let products on NVIDIA GPUs round their inputs to 10 bits (TensorFloat-32): faster, but "
        "other numbers.",
        _DEVICES,
    )


@dataclasses.dataclass(frozen=True)
class ReplicaFlags:
    """How many trajectories a meta-gradient is the mean of, and who runs them."""

    trajectories_per_step: int = flag(
        1,
        "Trajectories of the optimizee that run at once on each replica and whose meta-gradients "
        "are averaged for each meta-step.",
        _REPLICAS,
    )
    strategy: str = flag(
        "none",
        "Who runs them: none, this process on one device; mirrored, all GPUs of this machine (all "
        "logical CPUs without one), a replica each; multi_worker, all processes of TF_CONFIG. "
        "docs/scaling.md has examples.",
        _REPLICAS,
        identity=False,
    )

    def check_replicas(self) -> None:
        """Raises InputError for values out of range."""
        number = self.trajectories_per_step
        require(1 <= number <= 1000, "trajectories_per_step", number, "from 1 to 1000")
        expected = f"one of {', '.join(STRATEGIES)}"
        require(self.strategy in STRATEGIES, "strategy", self.strategy, expected)
