"""Whatever can be compared is read as the same thing: means of ln loss per window."""

import pickle

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.evaluation import published, results, sources


def store(directory, rule="dm", optimizee="mlp", seed=0, losses=None):
    losses = np.full(300, np.exp(seed), np.float32) if losses is None else losses
    results.append(directory, results.Run(rule, optimizee, "mnist", "test", seed, losses))


def test_results_directory(tmp_path):
    for seed in range(2):
        store(tmp_path, seed=seed)
    store(tmp_path, "tuned:adam", losses=np.full(150, np.nan, np.float32))
    read = sources.read(str(tmp_path))
    assert list(read) == [("dm", "mlp"), ("tuned:adam", "mlp")]
    dm = read["dm", "mlp"]
    assert (dm.name, dm.notes) == ("dm on mlp", ("mnist/test",))
    assert (dm.runs_per_row, dm.num_diverged) == (1, 0)
    np.testing.assert_array_equal(dm.steps, [100, 200, 300])
    np.testing.assert_allclose(dm.values, [[0, 0, 0], [1, 1, 1]], atol=1e-6)
    assert read["tuned:adam", "mlp"].num_diverged == 1


def test_selection_by_optimizee_and_rule(tmp_path):
    for rule, optimizee in (("dm", "mlp"), ("dm", "lenet"), ("tuned:adam", "mlp")):
        store(tmp_path, rule, optimizee)
    assert set(sources.read(f"{tmp_path}:mlp")) == {("dm", "mlp"), ("tuned:adam", "mlp")}
    assert list(sources.read(f"{tmp_path}:mlp:tuned:adam")) == [("tuned:adam", "mlp")]
    with pytest.raises(errors.InputError, match="has no lenet:rnnprop; it has lenet:dm, mlp:dm"):
        sources.read(f"{tmp_path}:lenet:rnnprop")


def test_a_run_directory_with_results_in_it(tmp_path):
    store(tmp_path / "evaluation")
    results.consolidate(tmp_path / "evaluation")
    (tmp_path / "checkpoints").mkdir()
    assert list(sources.read(str(tmp_path))) == [("dm", "mlp")]
    assert list(sources.read(str(tmp_path / "evaluation" / "results.csv"))) == [("dm", "mlp")]
    store(tmp_path / "second")
    with pytest.raises(errors.InputError, match="evaluation, .*second"):
        sources.read(str(tmp_path))
    with pytest.raises(errors.InputError, match="has no results; .*: none"):
        sources.read(str(tmp_path / "checkpoints"))


def test_a_directory_whose_name_holds_a_colon(tmp_path):
    (tmp_path / "run").mkdir()
    store(tmp_path / "run:1")
    assert list(sources.read(f"{tmp_path}/run:1:mlp")) == [("dm", "mlp")]


def test_published_curves_get_our_labels():
    path = published.DIRECTORY / "figure2.csv"
    assert len(sources.read(str(path))) == 25
    ((key, source),) = sources.read(f"{path}:MLP-orig:L2O-DM").items()
    assert key == ("dm", "mlp") and source.name == "published L2O-DM on MLP-orig"
    assert source.runs_per_row == 10 and source.num_diverged is None
    expected = published.read(path)["MLP-orig", "L2O-DM"].ln_loss
    np.testing.assert_array_equal(source.values[0], expected)
    doubtful = sources.read(f"{path.with_name('figure5.csv')}:Conv-CIFAR:L2O-DM-CL")
    assert "mislabelled" in doubtful["dm_cl", "conv_cifar"].notes[0]
    with pytest.raises(errors.InputError, match="windows of 100 steps, not 50"):
        sources.read(str(path), window=50)


def test_loss_records_count_as_seeds(tmp_path):
    for seed in range(2):
        with open(tmp_path / f"seed{seed}.pickle-mnist", "wb") as file:
            pickle.dump([float(np.exp(seed))] * 250, file)
    ((key, one),) = sources.read(str(tmp_path / "seed0.pickle-mnist")).items()
    assert key == ("", "seed0.pickle-mnist") and one.values.shape == (1, 2)
    ((_, both),) = sources.read(
        f"{tmp_path}/seed0.pickle-mnist,{tmp_path}/seed1.pickle-mnist"
    ).items()
    np.testing.assert_allclose(both.values, [[0, 0], [1, 1]], atol=1e-12)
    assert both.name == "seed0.pickle-mnist and 1 more"
    with pytest.raises(errors.InputError, match="single loss record: remove :mlp"):
        sources.read(f"{tmp_path}/seed0.pickle-mnist:mlp")
    with pytest.raises(errors.InputError, match="shorter than one window of 300 steps"):
        sources.read(str(tmp_path / "seed0.pickle-mnist"), window=300)


@pytest.mark.parametrize("spec", ["nowhere", "nowhere:mlp:dm", "nowhere,else"])
def test_absent(spec):
    with pytest.raises(errors.InputError, match="^nowhere.* not found"):
        sources.read(spec)
