"""What is drawn: the numbers of every line, what is missing, and a layout that hides nothing."""

import itertools
import math

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends import backend_agg

from l2o_tf.core import errors
from l2o_tf.evaluation import (
    comparison,
    figures,
    paper_figures,
    published,
    results,
    sources,
)


def make_runs(rule, optimizee, num_seeds=3, num_steps=500):
    """Seed s has loss exp(-window - s) throughout each window of 100 steps."""
    window = np.repeat(np.arange(num_steps // 100), 100)
    return [
        results.Run(rule, optimizee, "mnist", "test", s, np.exp(-window - s).astype(np.float32))
        for s in range(num_seeds)
    ]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, as Matplotlib objects."""
    saved = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: saved.append(figure))
    return saved


def lines_of(axis, color, style="-"):
    return [
        line for line in axis.lines if line.get_color() == color and line.get_linestyle() == style
    ]


def texts_of(figure):
    legend = (figure.legends or [axis.get_legend() for axis in figure.axes if axis.get_legend()])[0]
    return [" ".join(text.get_text().split()) for text in legend.get_texts()], " ".join(
        legend.get_title().get_text().split()
    )


def test_means_of_logs_bands_and_published_curves(drawn):
    runs = make_runs("dm", "mlp") + make_runs("rnnprop", "mlp", num_seeds=1)
    missing = figures.paper_figure(2, runs, "unused", published.figure(2))
    (figure,) = drawn
    axis = figure.axes[0]
    assert axis.get_title() == "MLP-orig"
    (line,) = lines_of(axis, figures.COLORS["dm"])
    np.testing.assert_array_equal(line.get_xdata(), [100, 200, 300, 400, 500])
    np.testing.assert_allclose(line.get_ydata(), -np.arange(5) - 1.0, atol=1e-6)
    edges = axis.collections[0].get_paths()[0].vertices
    band = edges[np.isclose(edges[:, 0], 300), 1]
    assert [band.min(), band.max()] == pytest.approx([-4.0, -2.0], abs=1e-6)
    (dashed,) = lines_of(axis, figures.COLORS["dm_cl_il"], "--")
    np.testing.assert_array_equal(
        dashed.get_ydata(), published.figure(2)["MLP-orig", "L2O-DM-CL-IL"].ln_loss
    )
    assert not lines_of(axis, figures.COLORS["dm_cl_il"])
    assert len(missing) == 5
    assert "RNNprop (rnnprop) on MLP-ReLU, MLP-deeper, Conv-MNIST, Conv-CIFAR" in missing


def test_missing_and_diverged_series_are_named(drawn):
    runs = [run for panel in paper_figures.FIGURES[3].panels for run in
            make_runs("rnnprop", panel.optimizee)]  # fmt: skip
    runs += make_runs("scale", "mlp")
    runs[1].losses[250:] = np.nan
    figures.paper_figure(3, runs, "unused")
    labels, caption = texts_of(drawn[0])
    assert labels == [
        "L2O-Scale (missing: MLP-ReLU, MLP-deeper, Conv-MNIST, Conv-CIFAR)",
        "L2O-Scale-CL-IL (missing)",
        "RNNprop (1 of 15 runs diverged)",
        "RNNprop-CL-IL (missing)",
    ]
    assert caption == (
        "Lines: mean over 3 seeds of 100-step means of ln loss; bands: one standard deviation; "
        "cross: a run diverges, the mean goes on without it."
    )
    (cross,) = [line for line in drawn[0].axes[0].lines if line.get_marker() == "X"
                and len(line.get_xdata()) == 1]  # fmt: skip
    # The last window that all three share ends at step 200; mean of -1, -2, -3.
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == pytest.approx((200, -2.0), abs=1e-6)
    mean = lines_of(drawn[0].axes[0], figures.COLORS["rnnprop"])[0].get_ydata()
    np.testing.assert_allclose(mean, [-1, -2, -3, -4, -5], atol=1e-6)


def test_the_doubtful_published_curve_is_named(drawn):
    figures.paper_figure(5, make_runs("dm", "mlp"), "unused", published.figure(5))
    assert "probably mislabelled" in texts_of(drawn[0])[1]


def test_figure_4_over_training_epochs(drawn):
    rule = paper_figures.training_setting
    runs = make_runs(rule(100, 1000), "mlp") + make_runs(rule(100, 3000), "mlp", num_steps=200)
    figures.paper_figure(4, runs, "unused")
    first, second, *_ = drawn[0].axes[0].lines
    np.testing.assert_array_equal(first.get_xdata(), [1000, 3000])
    np.testing.assert_allclose(first.get_ydata(), [-5.0, -2.0], atol=1e-6)
    assert np.isnan(second.get_ydata()).all()
    labels, _ = texts_of(drawn[0])
    assert labels[0] == "trained on 100 steps (points missing)"


def test_quick_look_smooths_by_length(drawn):
    short = results.Run("dm", "mlp", "", "", 0, np.full(30, 0.5, np.float32))
    figures.quick_look([short], "unused")
    axis = drawn[0].axes[0]
    assert axis.get_yscale() == "log"
    np.testing.assert_array_equal(axis.lines[0].get_xdata(), np.arange(1, 31))
    np.testing.assert_allclose(axis.lines[0].get_ydata(), 0.5, rtol=1e-6)
    figures.quick_look(make_runs("dm", "mlp", num_steps=500), "unused")
    line = drawn[1].axes[0].lines[0]
    assert line.get_xdata()[0] == 10
    assert line.get_ydata()[0] == pytest.approx(math.exp(-1.0), rel=1e-6)


def test_quick_look_tells_optimizees_apart(drawn):
    runs = make_runs("dm", "mlp") + make_runs("dm", "lenet") + make_runs("mine", "lenet")
    figures.quick_look(runs, "unused")
    assert texts_of(drawn[0])[0] == ["dm on mlp", "dm on lenet", "mine on lenet"]
    looks = [(line.get_color(), line.get_linestyle()) for line in drawn[0].axes[0].lines]
    assert looks[0][0] == looks[1][0] == figures.COLORS["dm"] != looks[2][0]
    assert looks[0][1] != looks[1][1] == looks[2][1]


def test_colours_are_distinct_within_every_panel():
    for figure in [figure for number, figure in paper_figures.FIGURES.items() if number != 4]:
        for panel in figure.panels:
            colors = [figures.COLORS[series.rule] for series in panel.series]
            assert len(set(colors)) == len(colors)
    legacy = ["dm", "dm_aug", "dm_cl", "dm_il", "dm_cl_il", "rnnprop", "rnnprop_cl_il"]
    assert len({figures.COLORS[rule] for rule in legacy}) == 7


def test_unknown_rules_get_free_looks():
    styles = figures._styles(["a", "dm", "b", *map(str, range(15))])
    assert styles["dm"] == (figures.COLORS["dm"], "o", "-")
    assert len({style[::2] for style in styles.values()}) == len(styles)


@pytest.mark.parametrize("share", [1, 3])
@pytest.mark.parametrize("number", [2, 4, 6, 7])
def test_nothing_covers_anything(drawn, number, share):
    figure = paper_figures.FIGURES[number]
    keys = [(series.rule, panel.optimizee) for panel in figure.panels for series in panel.series]
    runs = [run for key in keys[::share] for run in make_runs(*key)]
    figures.paper_figure(number, runs, "unused")
    (figure,) = drawn
    renderer = backend_agg.FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    panels = [axis for axis in figure.axes if axis.axison]
    corner = [axis.get_legend() for axis in figure.axes if not axis.axison]
    boxes = [part.get_tightbbox(renderer) for part in [*panels, *figure.legends, *corner]]
    assert len(boxes) == len(paper_figures.FIGURES[number].panels) + 1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_png_shows_the_series_in_its_colour(tmp_path):
    path = tmp_path / "new" / "figure.png"
    figures.paper_figure(7, make_runs("dm", "lenet"), path)
    image = (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int)
    blue = [int(figures.COLORS["dm"][i : i + 2], 16) for i in (1, 3, 5)]
    height, width = image.shape[:2]
    shown = np.abs(image - blue).max(axis=-1) <= 2
    assert shown[height // 2 : int(height * 0.85), width // 2 :].sum() > 200  # [d] LeNet
    assert shown[: height // 2 - 20].sum() == 0


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(errors.InputError, match="figure 8 is unknown: choose one of 2, 3, 4"):
        figures.paper_figure(8, make_runs("dm", "mlp"), tmp_path / "x.png")
    with pytest.raises(errors.InputError, match="nothing that figure 3 shows, such as scale on mlp"):
        figures.paper_figure(3, make_runs("dm", "mlp"), tmp_path / "x.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="cannot write"):
        figures.quick_look(make_runs("dm", "mlp"), tmp_path / "file" / "x.png")


def test_comparison_figure(drawn):
    steps = np.array([100, 200])
    a, b = (
        sources.Source(name, steps, np.array(values), 1, 0, ())
        for name, values in (("x", [[1.0, 2.0], [3.0, 4.0]]), ("y", [[0.0, 0.0], [0.0, 0.2]]))
    )
    figures.comparison_figure(comparison.compare(a, b, 0.5), 0.5, "unused")
    top, bottom = drawn[0].axes
    np.testing.assert_allclose(top.lines[0].get_ydata(), [2.0, 3.0])
    np.testing.assert_allclose(top.lines[1].get_ydata(), [0.0, 0.1])
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), [2.0, 2.9])
    assert texts_of(drawn[0])[0][:3] == ["A: x", "B: y", "tolerance 0.5"]
