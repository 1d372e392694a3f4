"""Lets Keras load saved models after a bare `import l2o_tf`, without importing TensorFlow."""

import importlib
import importlib.util
import sys

_NAME = "l2o_tf>LearnedOptimizer"


class _LearnedOptimizer:
    """Stands in Keras' registry for the optimizer, whose own module takes the place over."""

    @classmethod
    def from_config(cls, config):
        module = importlib.import_module("l2o_tf.keras_optimizer")
        return module.LearnedOptimizer.from_config(config)


class _WhenKerasIsImported:
    """A finder of modules that finds none, but is asked for Keras before the finder that does.

    It stays until Keras is executed: `importlib.util.find_spec` may be called before.
    """

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(_WhenKerasIsImported)  # Else it would ask itself.
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, _WhenKerasIsImported)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                if _WhenKerasIsImported in sys.meta_path:
                    sys.meta_path.remove(_WhenKerasIsImported)
                _register(module)

            spec.loader.exec_module = exec_module
        return spec


def register_when_imported() -> None:
    """Registers the optimizer with Keras, now or when something imports Keras."""
    keras = sys.modules.get("keras")
    if keras is None:
        sys.meta_path.insert(0, _WhenKerasIsImported)
    elif hasattr(keras, "saving"):
        _register(keras)


def _register(keras) -> None:
    keras.saving.get_custom_objects().setdefault(_NAME, _LearnedOptimizer)
