"""Learning to optimize with TensorFlow 2, Keras and Sonnet."""

import importlib

__version__ = "0.1.0"

# Imported when first used, because the command lines must not wait for TensorFlow to print --help.
_HOMES = {
    "LearnedOptimizer": "l2o_tf.keras_optimizer",
    "list_pretrained": "l2o_tf.loading",
    "load": "l2o_tf.loading",
    "save_rule": "l2o_tf.artifacts",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
