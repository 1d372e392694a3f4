"""Options of optimizees as a command line gives them."""

import pytest

from l2o_tf import cli, optimizees
from l2o_tf.core import coordinates, errors, seeds
from l2o_tf.run import build
from l2o_tf.run.config import TrainConfig
from tests import small_images


def test_options_are_those_of_all_and_of_each():
    values = {"relu_logits": False, "lenet": {"optimize_batch_norm": True}}
    assert optimizees.options(("conv_mnist", "lenet"), values) == {
        "conv_mnist": {"relu_logits": False},
        "lenet": {"relu_logits": False, "optimize_batch_norm": True},
    }
    assert optimizees.options(("mlp", "quadratic"), {"quadratic": {"num_dims": 3}}) == {
        "mlp": {},
        "quadratic": {"num_dims": 3},
    }
    assert optimizees.options(("my_file:make",), {"width": 3}) == {"my_file:make": {"width": 3}}


@pytest.mark.parametrize(
    "names, values, message",
    [
        (("mlp",), {"relu_logits": True}, "mlp has no option 'relu_logits'; it has none"),
        (("vgg16", "lenet"), {"relu_logits": True}, "vgg16 has no option 'relu_logits'"),
        (("lenet",), {"relu": True}, "it has relu_logits, optimize_batch_norm"),
        (("lenet",), {"relu_logits": 1}, "relu_logits of lenet must be true or false, got 1"),
        (("quadratic",), {"num_dims": True}, "num_dims of quadratic must be a whole number from 1"),
        (("quadratic",), {"num_dims": 0}, "num_dims of quadratic must be a whole number from 1"),
        (("lenet",), {"lenet": True}, "lenet needs an object of its options, got True"),
        (("foo",), {"x": True}, "unknown optimizee 'foo'"),
    ],
)
def test_what_an_optimizee_has_not_is_an_error(names, values, message):
    with pytest.raises(errors.InputError, match=message):
        optimizees.options(names, values)


def test_declared_options_are_arguments_of_their_factories():
    data, values = small_images.dataset(), {bool: True, int: 2}
    for name in optimizees.names():
        declared = optimizees.base.OPTIMIZEES.fact(name, "options")
        options = {option: values[kind] for option, kind in declared.items()}
        if options:
            optimizees.create(name, data, batch_size=4, **options)


def test_training_makes_the_optimizees_with_their_options():
    run_config = cli.parse(
        TrainConfig,
        [
            "train",
            "--optimizee=conv_mnist,quadratic",
            "--dataset=digits",
            '--optimizee_options={"conv_mnist": {"optimize_batch_norm": true, "relu_logits": '
            'false}, "quadratic": {"num_dims": 3}}',
        ],
    )
    conv, quadratic = build.parts(run_config).optimizees
    seed = seeds.make_seed(0, "test")
    assert coordinates.count(conv.init(seed)) == 18122 + 2 * (16 + 32)
    assert not conv.relu_logits and quadratic.num_dims == 3
    assert run_config.identity()["optimizee_options"] == run_config.optimizee_options
