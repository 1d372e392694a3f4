"""The digitised curves: complete, consistent with each other and with what they must be."""

import csv
import math

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.evaluation import paper_figures, published

# Points and missing points of each figure, as counted when they were digitised.
COUNTS = {2: (1250, 91), 3: (1000, 181), 5: (1000, 60), 6: (150, 7)}


@pytest.mark.parametrize("number", COUNTS)
def test_panels_series_and_points(number):
    curves = published.figure(number)
    panels = paper_figures.FIGURES[number].panels
    assert set(curves) == {(panel.title, s.label) for panel in panels for s in panel.series}
    for curve in curves.values():
        np.testing.assert_array_equal(curve.steps, np.arange(100, 10_000, 200))
    points = np.concatenate([curve.ln_loss for curve in curves.values()])
    assert (points.size, np.isnan(points).sum()) == COUNTS[number]


def test_key_values_agree_with_the_curves():
    # Read separately, so they differ by the reading error: a pixel is at most .053.
    with open(published.DIRECTORY / "key_values.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    compared = 0
    for row in rows:
        curve = published.figure(int(row["figure"][-1]))[row["panel"], row["series"]]
        last = curve.ln_loss[-1]
        if row["ln_9900"] and not math.isnan(last):
            assert last == pytest.approx(float(row["ln_9900"]), abs=0.053), row
            compared += 1
    assert compared == 63


def test_a_classifier_that_guesses():
    flat = published.figure(2)["Conv-CIFAR", "RNNprop"].ln_loss
    assert np.nanmedian(flat) == pytest.approx(math.log(math.log(10)), abs=1e-3)


def test_the_mislabelled_curve_is_flagged_and_is_the_other_one():
    doubtful = {key: curve for key, curve in published.figure(5).items() if curve.doubt}
    assert list(doubtful) == [("Conv-CIFAR", "L2O-DM-CL")]
    scale = published.figure(2)["Conv-CIFAR", "L2O-Scale"].ln_loss
    difference = doubtful["Conv-CIFAR", "L2O-DM-CL"].ln_loss - scale
    assert np.nanmax(np.abs(difference)) < 0.01
    assert "mislabelled" in doubtful["Conv-CIFAR", "L2O-DM-CL"].doubt


@pytest.mark.parametrize("number", [1, 4, 7])
def test_figures_without_numbers(number):
    with pytest.raises(errors.InputError, match="only figures 2, 3, 5, 6 have"):
        published.figure(number)


def test_absent_directory(tmp_path):
    with pytest.raises(errors.InputError, match="figure2.csv not found: work in a clone"):
        published.figure(2, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n1,2\n",
        "panel,series,step,ln_loss\nA,B,x,1\n",
        "panel,series,step,ln_loss\nA,B\n",
        "panel,series,step,ln_loss\nA,B,100,1\nA,B,100,2\n",
        "panel,series,step,ln_loss\nA,B,200,1\nA,B,100,2\n",
    ],
)
def test_other_files(tmp_path, text):
    (tmp_path / "figure2.csv").write_text(text)
    with pytest.raises(errors.InputError, match="cannot read published curves") as caught:
        published.figure(2, tmp_path)
    assert "\n" not in str(caught.value)


def test_steps_increase_within_a_curve(tmp_path):
    lines = ["panel,series,step,ln_loss", "A,B,100,1", "A,C,100,2", "A,B,300,3", "A,C,300,"]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    read = published.read(tmp_path / "mine.csv")
    assert [curve.steps.tolist() for curve in read.values()] == [[100, 300], [100, 300]]
    np.testing.assert_array_equal(read["A", "C"].ln_loss, [2, np.nan])
    (tmp_path / "mine.csv").write_text("\n".join([*lines, "A,B,300,4"]))
    with pytest.raises(errors.InputError, match="mine.csv: B on A has step 300 after 300$"):
        published.read(tmp_path / "mine.csv")


def test_labels_lead_to_results_and_back():
    assert paper_figures.labels_of("MLP-orig", "L2O-DM") == ("dm", "mlp")
    assert paper_figures.labels_of("Conv-MNIST", "Imitation Learning") == ("scale_il", "conv_mnist")
    assert paper_figures.labels_of("MLP-orig", "Lion") is None
    for figure in paper_figures.FIGURES.values():
        for panel in figure.panels:
            rules = [series.rule for series in panel.series]
            assert len(set(rules)) == len(rules)
