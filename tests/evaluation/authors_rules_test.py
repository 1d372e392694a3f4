"""The authors' trained rules in our evaluation, beside losses of the same files measured before.

The expected numbers are means and standard deviations over 3 seeds of the minibatch losses of an
independent TensorFlow 2 port of the legacy evaluation, on the 10,000 MNIST test images with
batches of 128. A cell agrees if the two means over seeds are at most 2 s apart, where s^2 is the
sum of both variances over seeds (n - 1 in the denominator), that is, s is the standard deviation
of the difference between one seed of theirs and one of ours.
"""

import os

import numpy as np
import pytest

from l2o_tf import cli
from l2o_tf.evaluation import results, session
from l2o_tf.evaluation.config import EvaluateConfig
from tests import reference

WINDOWS = {
    "91-100": slice(90, 100),
    "491-500": slice(490, 500),
    "951-1000": slice(950, 1000),
    "1-1000": slice(0, 1000),
}
# Mean and standard deviation of each window.
EXPECTED = {
    "mlp": {
        "adam:0.01": [(0.499, 0.030), (0.161, 0.013), (0.087, 0.003), (0.263, 0.003)],
        "adam:0.001": [(1.952, 0.006), (0.769, 0.013), (0.436, 0.005), (0.969, 0.007)],
        "dm": [(0.208, 0.025), (0.121, 0.012), (0.222, 0.021), (0.180, 0.007)],
        "dm_aug": [(0.196, 0.014), (0.084, 0.014), (0.056, 0.003), (0.119, 0.005)],
        "dm_cl": [(0.412, 0.044), (0.135, 0.023), (0.069, 0.016), (0.223, 0.030)],
        "dm_il": [(0.233, 0.030), (0.105, 0.021), (0.067, 0.017), (0.153, 0.026)],
        "dm_cl_il": [(0.292, 0.035), (0.110, 0.007), (0.050, 0.007), (0.169, 0.014)],
        "rnnprop": [(0.476, 0.033), (0.150, 0.013), (0.078, 0.004), (0.259, 0.006)],
        "rnnprop_cl_il": [(0.552, 0.032), (0.159, 0.015), (0.080, 0.004), (0.278, 0.005)],
    },
    "mlp_relu": {
        "adam:0.01": [(0.302, 0.023), (0.117, 0.012), (0.054, 0.004), (0.168, 0.004)],
        "adam:0.001": [(0.932, 0.020), (0.305, 0.020), (0.225, 0.003), (0.463, 0.004)],
        "dm": [(0.460, 0.091), (0.636, 0.102), (1.445, 0.413), (0.764, 0.072)],
        "dm_aug": [(0.437, 0.034), (0.178, 0.027), (0.110, 0.007), (0.257, 0.024)],
        "dm_cl": [(0.365, 0.032), (0.126, 0.010), (0.061, 0.014), (0.202, 0.011)],
        "dm_il": [(0.506, 0.103), (0.273, 0.026), (0.207, 0.037), (0.336, 0.054)],
        "dm_cl_il": [(0.367, 0.043), (0.114, 0.018), (0.049, 0.003), (0.165, 0.009)],
        "rnnprop": [(0.302, 0.021), (0.107, 0.009), (0.044, 0.009), (0.168, 0.010)],
        "rnnprop_cl_il": [(0.308, 0.018), (0.113, 0.001), (0.045, 0.007), (0.172, 0.007)],
    },
}


# Seeds 0, 1, 2 give 0.272 ± 0.022 here, which is no difference between the two codes: a NumPy
# L2O-DM on the same initial values and batches has these losses to 6e-4. The loss at 100 steps is
# heavy-tailed, 0.37 ± 0.09 over 100 other seeds of ours and over 40 seeds of NumPy's own, so that
# three seeds say little of its mean and less of its spread. It is tested with 30 seeds instead.
NEEDS_MORE_SEEDS = ("mlp", "dm_cl", "91-100")


def rule_of(label):
    if ":" in label:
        return label
    return f"{label}={next(reference.path(f'legacy/{label}').glob('*.l2l-0'))}"


def evaluate(workdir, optimizee, labels, num_steps, num_seeds):
    """Losses [num_seeds, num_steps] by label."""
    if "TFDS_DATA_DIR" not in os.environ:
        pytest.skip("needs MNIST: set TFDS_DATA_DIR to a folder of prepared TensorFlow Datasets")
    config = EvaluateConfig(
        rules=tuple(map(rule_of, labels)),
        optimizees=(optimizee,),
        num_steps=num_steps,
        num_seeds=num_seeds,
        workdir=str(workdir),
    )
    session.evaluate(config, cli.say)
    runs = results.load(workdir)
    losses = {label: np.array([r.losses for r in runs if r.rule == label]) for label in labels}
    assert all(rows.shape == (num_seeds, num_steps) for rows in losses.values())
    return losses


def deviation(losses, expected):
    """How far the mean over seeds of losses [num_seeds, num_steps] is from theirs, in s."""
    means = losses.mean(axis=1, dtype=np.float64)
    return (means.mean() - expected[0]) / np.hypot(means.std(ddof=1), expected[1])


@pytest.mark.slow
@pytest.mark.parametrize("optimizee", EXPECTED)
def test_losses_agree_with_the_legacy_evaluation(optimizee, tmp_path):
    losses = evaluate(tmp_path, optimizee, EXPECTED[optimizee], 1000, 3)
    deviations = {
        (optimizee, label, window): deviation(losses[label][:, WINDOWS[window]], cell)
        for label, cells in EXPECTED[optimizee].items()
        for window, cell in zip(WINDOWS, cells, strict=True)
    }
    print("\n".join(f"{' '.join(key):30s} {value:+.2f}" for key, value in deviations.items()))
    assert len(deviations) == 9 * 4
    deviations.pop(NEEDS_MORE_SEEDS, None)
    assert {key: value for key, value in deviations.items() if abs(value) > 2} == {}


@pytest.mark.slow
def test_the_cell_that_needs_more_seeds(tmp_path):
    optimizee, label, window = NEEDS_MORE_SEEDS
    losses = evaluate(tmp_path, optimizee, [label], 100, 30)[label]
    expected = EXPECTED[optimizee][label][list(WINDOWS).index(window)]
    assert abs(deviation(losses[:, WINDOWS[window]], expected)) <= 2
