import numpy as np
import pytest

from l2o_tf import optimizees
from l2o_tf.benchmarks import measuring, meta_training

NUM_UNROLLS = 2


@pytest.mark.slow
# Conv-MNIST has the same rule, and rounding grows faster on it.
@pytest.mark.parametrize("name", ["dm_mlp", "rnnprop_mlp", "scale_mlp"])
def test_the_plain_implementation_computes_the_same_as_the_fast_one(name):
    workload = meta_training.WORKLOADS[name]
    optimizee = optimizees.create(workload.optimizee, measuring.random_images(200), batch_size=8)
    fast = meta_training.Fast(workload, optimizee, NUM_UNROLLS)
    plain = meta_training.Plain(workload, optimizee, NUM_UNROLLS)
    np.testing.assert_allclose(plain.forward(), fast.forward(), rtol=1e-5)
    # The second unroll starts with the weights after a meta-step.
    np.testing.assert_allclose(plain.train(), fast.train(), rtol=1e-4)
    if name != "scale_mlp":  # The random first learning rates of a student have another seed.
        np.testing.assert_allclose(plain.imitate(), fast.imitate(), rtol=1e-3)
