"""Learning to optimize with TensorFlow 2, Keras and Sonnet."""

import importlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # What an editor or a type checker sees of the names below.
    from l2o_tf import callbacks, optimizees, rules
    from l2o_tf.artifacts import save_rule
    from l2o_tf.core import errors, seeds
    from l2o_tf.keras_optimizer import LearnedOptimizer
    from l2o_tf.loading import list_pretrained, load
    from l2o_tf.presets import save_preset

__version__ = "0.2.0"
__all__ = [
    "LearnedOptimizer",
    "callbacks",
    "errors",
    "list_pretrained",
    "load",
    "optimizees",
    "rules",
    "save_preset",
    "save_rule",
    "seeds",
]

# Imported when first used, because the command lines must not wait for TensorFlow to print --help.
_MODULES = {
    "callbacks": "l2o_tf.callbacks",
    "errors": "l2o_tf.core.errors",
    "optimizees": "l2o_tf.optimizees",
    "rules": "l2o_tf.rules",
    "seeds": "l2o_tf.core.seeds",
}
_HOMES = {
    "LearnedOptimizer": "l2o_tf.keras_optimizer",
    "list_pretrained": "l2o_tf.loading",
    "load": "l2o_tf.loading",
    "save_preset": "l2o_tf.presets",
    "save_rule": "l2o_tf.artifacts",
}

# A command that is run by its path, as Bazel does, has this folder in front of the standard
# library, whose `select` is not ours.
if sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
    del sys.path[0]


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_with_keras() -> None:
    from l2o_tf import keras_registration

    keras_registration.register_when_imported()


_register_with_keras()
