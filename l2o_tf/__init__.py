"""Learning to optimize with TensorFlow 2, Keras and Sonnet."""

import importlib
import os
import sys

__version__ = "0.1.0"

# Imported when first used, because the command lines must not wait for TensorFlow to print --help.
_HOMES = {
    "LearnedOptimizer": "l2o_tf.keras_optimizer",
    "list_pretrained": "l2o_tf.loading",
    "load": "l2o_tf.loading",
    "save_rule": "l2o_tf.artifacts",
}
__all__ = list(_HOMES)

# A command that is run by its path, as Bazel does, has this folder in front of the standard
# library, whose `select` is not ours.
if os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
    del sys.path[0]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
