"""Whatever can be compared is read as the same thing: means of ln loss per window."""

import errno
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
    assert (dm.runs_per_row, dm.unit, dm.diverged_at.tolist()) == (1, "step", [np.inf] * 2)
    assert (dm.end, read["tuned:adam", "mlp"].end) == (300, 150)
    np.testing.assert_array_equal(dm.steps, [100, 200, 300])
    np.testing.assert_allclose(dm.values, [[0, 0, 0], [1, 1, 1]], atol=1e-6)
    assert read["tuned:adam", "mlp"].diverged_at.tolist() == [1]


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
    assert source.runs_per_row == 10 and source.diverged_at is None
    expected = published.read(path)["MLP-orig", "L2O-DM"].ln_loss
    np.testing.assert_array_equal(source.values[0], expected)
    (named,) = sources.read("figure2:MLP-orig:L2O-DM").values()
    np.testing.assert_array_equal(named.values[0], expected)
    assert sources.label_and_spec("paper=figure2") == ("paper", "figure2")
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
    with pytest.raises(errors.InputError, match="holds a single series: remove :mlp"):
        sources.read(f"{tmp_path}/seed0.pickle-mnist:mlp")
    with pytest.raises(errors.InputError, match="shorter than one window of 300 steps"):
        sources.read(str(tmp_path / "seed0.pickle-mnist"), window=300)


@pytest.mark.parametrize("spec", ["nowhere", "nowhere:mlp:dm", "nowhere,else", "figure4"])
def test_absent(spec):
    with pytest.raises(errors.InputError, match="^'(nowhere|figure4).* not found"):
        sources.read(spec)


def test_labels():
    assert sources.label_and_spec("ours=runs/a:mlp") == ("ours", "runs/a:mlp")
    assert sources.label_and_spec("runs/lr=1/x") == ("", "runs/lr=1/x")
    assert sources.label_and_spec("x") == ("", "x")


def test_a_path_with_an_equals_sign_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store(tmp_path / "lr=1")
    assert sources.label_and_spec("lr=1") == ("", "lr=1")
    assert sources.label_and_spec("lr=1:mlp:dm") == ("", "lr=1:mlp:dm")


LOSSES = np.exp(np.arange(6.0).reshape(2, 3)).repeat(100, axis=1)  # Means of ln: 0 1 2, 3 4 5.


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.txt", "x.csv", "x.pickle"])
@pytest.mark.parametrize("num_runs", [1, 2])
def test_files_of_curves(tmp_path, name, num_runs):
    path, losses = tmp_path / name, LOSSES[:num_runs]
    losses = losses[0] if num_runs == 1 else losses
    match path.suffix:
        case ".npy":
            np.save(path, losses)
        case ".npz":
            np.savez(path, anything=losses)
        case ".txt":
            np.savetxt(path, losses, fmt="%.17g")
        case ".csv":
            np.savetxt(path, losses, delimiter=",", fmt="%.17g")
        case ".pickle":
            path.write_bytes(pickle.dumps([*losses]))
    ((key, source),) = sources.read(str(path)).items()
    assert key == ("", name)
    np.testing.assert_allclose(source.values, [[0, 1, 2], [3, 4, 5]][:num_runs], atol=1e-12)
    ((_, twice),) = sources.read(f"{path},{path}").items()
    assert twice.values.shape == (2 * num_runs, 3)


def test_arrays_of_one_file_are_series(tmp_path):
    np.savez(tmp_path / "x.npz", a=LOSSES, b=LOSSES[0])
    read = sources.read(str(tmp_path / "x.npz"))
    assert {key: source.values.shape for key, source in read.items()} == {
        ("", "a"): (2, 3),
        ("", "b"): (1, 3),
    }


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("x.txt", b"step loss\n1 2\n", "expected nothing but numbers, a run a line"),
        ("x.csv", b"1,2\n3\n", "cannot read .*x.csv"),
        ("x.txt", b"", "expected numbers"),
        ("x.npy", b"no", "cannot read arrays from .*x.npy"),
        ("x.npy", np.ones([2, 2, 2]), r"is float64 \[2, 2, 2\]: expected"),
        ("x.npy", np.array(["a"]), "expected numbers"),
        ("x.npy", np.array([{}]), "Python objects"),
        ("x.csv", b"event,kind,epoch,num_steps,loss\n", "has no validations yet"),
        ("x.csv", b"event,kind,epoch,\n1,validation,x\n", "cannot read the losses in"),
    ],
)
def test_files_that_hold_no_curves(tmp_path, name, content, message):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        np.save(tmp_path / name, content)
    with pytest.raises(errors.InputError, match=message) as caught:
        sources.read(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_files_without_a_series_are_one_line(tmp_path):
    np.savez(tmp_path / "empty.npz")
    (tmp_path / "figure.csv").write_text("panel,series,step,ln_loss\n")
    for name in ("empty.npz", "figure.csv"):
        with pytest.raises(errors.InputError, match=f"{name} holds no series"):
            sources.read(str(tmp_path / name))


def test_a_file_that_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    def refused(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path in paths:
        path.write_text("1,2,3\n")
    for spec in (str(paths[0]), ",".join(map(str, paths))):
        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", refused)
            patch.setattr("io.open", refused)
            with pytest.raises(errors.InputError) as raised:
                sources.read(spec, window=1)
        assert str(raised.value) == f"cannot read {paths[0]}: Permission denied"
        assert sources.read(spec, window=1)


def write_metrics(directory, losses, lengths=(100, 100)):
    """Two epochs of meta-losses 1 and e^2 times the validation's loss, one of imitation, and it."""
    directory.mkdir(parents=True)
    lines = ["event,kind,epoch,stage,num_steps,loss,last_loss,gradient_norm,skipped,decision"]
    for epoch, loss in losses.items():
        for length, factor in zip(lengths, (1, np.e**2)):
            lines.append(f"0,meta_loss,{epoch - 1},0,{length},{factor * float(loss)},9,0,0,")
        lines.append(f"0,imitation,{epoch},0,100,9,9,0,0,")
        lines.append(f"0,validation,{epoch},0,200,{loss},{loss},,0,new best")
    (directory / "metrics.csv").write_text("\n".join(lines) + "\n")


def test_trainings_by_their_validations_and_meta_losses(tmp_path):
    write_metrics(tmp_path / "runs" / "seed_0", {25: 1.0, 50: np.e})
    write_metrics(tmp_path / "runs" / "seed_1", {25: np.e**2, 50: "nan", 75: 1.0})
    found = sources.read(str(tmp_path / "runs"))
    names = ["validation on 200 steps", "meta-loss on 100 steps"]
    assert list(found) == [("training", name) for name in names]
    ln = np.array([[0, 1, np.nan], [2, np.nan, 0]])
    for source, values in zip(found.values(), (ln, ln + 1)):
        assert source.unit == "epoch" and source.diverged_at.tolist() == [np.inf, 50]
        np.testing.assert_array_equal(source.steps, [25, 50, 75])
        np.testing.assert_allclose(source.values, values, atol=1e-12)
    seeds = [str(tmp_path / "runs" / f"seed_{seed}") for seed in range(2)]
    listed = sources.read(",".join(seeds))["training", names[0]]
    np.testing.assert_allclose(listed.values, ln, atol=1e-12)
    one = sources.read(seeds[0] + "/metrics.csv")["training", names[1]]
    np.testing.assert_allclose(one.values, [[1, 2]], atol=1e-12)
    np.save(tmp_path / "x.npy", LOSSES)
    with pytest.raises(errors.InputError, match="cannot be one series"):
        sources.read(f"{seeds[0]},{tmp_path / 'x.npy'}")


def test_validations_on_several_optimizees_are_logarithms_already(tmp_path):
    write_metrics(tmp_path / "run", {25: -0.5, 50: "nan", 75: 1.0})
    path = tmp_path / "run" / "metrics.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},optimizee,loss_on_a,loss_on_b", *lines]))
    source = sources.read(f"{path}:score")["training", "score on 200 steps"]
    np.testing.assert_array_equal(source.values, [[-0.5, np.nan, 1.0]])


def test_selected_curves_of_trainings(tmp_path):
    run = tmp_path / "run"
    write_metrics(run, {25: 1.0}, lengths=(100, 40))
    for selection, names in {
        "": ["validation on 200 steps", "meta-loss"],
        ":validation": ["validation on 200 steps"],
        ":validation:200": ["validation on 200 steps"],
        ":meta-loss": ["meta-loss"],  # Its epochs have several lengths.
    }.items():
        assert [name for _, name in sources.read(f"{run}{selection}")] == names
    with pytest.raises(errors.InputError, match="no validation:9; it has validation:200, meta-l"):
        sources.read(f"{run}:validation:9")
    with pytest.raises(errors.InputError, match="cannot read the losses in"):
        (run / "metrics.csv").write_text("event,kind,epoch,num_steps,loss\n1,validation,x,2,3\n")
        sources.read(str(run))


def test_the_training_of_a_directory_that_holds_its_evaluations_too(tmp_path):
    run = tmp_path / "run"
    write_metrics(run, {25: 1.0})
    store(run / "evaluation")
    validation = [("training", "validation on 200 steps")]
    assert list(sources.read(f"{run}:validation")) == validation
    assert list(sources.read(str(run))) == [("dm", "mlp")]
    store(run / "second")
    with pytest.raises(errors.InputError, match="evaluation, .*second; or .*:validation of its tr"):
        sources.read(str(run))
    assert list(sources.read(f"{run}:validation")) == validation


def test_many_files_in_one_argument(tmp_path):
    paths = []
    for seed in range(40):
        paths.append(tmp_path / f"seed{seed}_eval_loss_record.pickle-mnist_conv")
        paths[-1].write_bytes(pickle.dumps([1.0] * 100))
    spec = ",".join(map(str, paths))
    assert len(spec) > 4096 - 255
    ((_, source),) = sources.read(spec).items()
    assert source.values.shape == (40, 1)


def test_a_comma_in_a_path_is_escaped_in_a_list(tmp_path):
    (tmp_path / "a,b").mkdir()
    np.save(tmp_path / "a,b" / "x.npy", LOSSES)
    assert len(sources.read(str(tmp_path / "a,b" / "x.npy"))) == 1
    escaped = str(tmp_path / "a,b" / "x.npy").replace(",", "\\,")
    ((_, source),) = sources.read(f"{escaped},{escaped}").items()
    assert source.values.shape == (4, 3)


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "x/" * 3000])
def test_names_that_the_system_refuses(name):
    with pytest.raises(errors.InputError, match="not found"):
        sources.read(name)
