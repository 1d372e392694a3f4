"""What `import l2o_tf` gives, and what it costs."""

import subprocess
import sys
import textwrap

import keras
import pytest

import l2o_tf
from tests import keras_saving_test as saving


def run(code):
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=saving.REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_does_not_import_tensorflow():
    modules = run("import sys, l2o_tf; assert 'load' in dir(l2o_tf); print(*sys.modules)")
    assert "l2o_tf" in modules and not {"tensorflow", "keras", "numpy"} & set(modules)


def test_every_name_is_there():
    assert sorted(l2o_tf.__all__) == l2o_tf.__all__
    for name in l2o_tf.__all__:
        assert getattr(l2o_tf, name).__name__.split(".")[-1] == name
    assert l2o_tf.callbacks.UpdateStatistics.__module__ == "l2o_tf.callbacks"
    with pytest.raises(AttributeError, match="no attribute 'optimizer'"):
        l2o_tf.__getattr__("optimizer")


@pytest.mark.parametrize(
    "imports",
    [
        "import l2o_tf, keras",
        pytest.param("import keras, l2o_tf", marks=pytest.mark.slow),
        "import l2o_tf, importlib.util; importlib.util.find_spec('keras'); import keras",
    ],
)
def test_a_saved_model_loads_after_a_bare_import(imports, tmp_path):
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
    model.compile(l2o_tf.LearnedOptimizer("sgd:0.125"), "mse")
    model.save(tmp_path / "model.keras")
    path = str(tmp_path / "model.keras")
    output = run(f"""
        {imports}
        optimizer = keras.models.load_model({path!r}).optimizer
        print(type(optimizer) is l2o_tf.LearnedOptimizer, optimizer.rule.learning_rate)
    """)
    assert output == ["True", "0.125"]
