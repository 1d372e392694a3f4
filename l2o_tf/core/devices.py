"""The devices of TensorFlow: how they compute, and what they are called."""

import tensorflow as tf


def set_up(deterministic: bool, tf32: bool) -> None:
    """Chooses how all devices of this process compute, for commands that begin.

    Args:
        deterministic: whether only operations may be used that give the same bits each time.
        tf32: whether products on GPUs may round their inputs to 10 bits.
    """
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def names() -> list[str]:
    """What operations may be placed on: GPUs if there are any, else CPUs, such as "GPU:0"."""
    # In front of it stands the process, where several train together, each with the same kinds.
    full = [device.name for device in tf.config.list_logical_devices()]
    logical = list(dict.fromkeys(name.rpartition("/device:")[2] for name in full))
    for kind in ("GPU", "CPU"):
        found = [name for name in logical if name.startswith(kind)]
        if found:
            return found
    return logical


def describe() -> str:
    """The devices as people read them, such as "GPU:0 (NVIDIA H100 80GB HBM3)"."""
    models = {}
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        number = device.name.rpartition(":")[2]
        models[f"GPU:{number}"] = details.get("device_name", "")
    texts = [f"{name} ({models[name]})" if models.get(name) else name for name in names()]
    return "CPU" if texts == ["CPU:0"] else " and ".join(texts)
