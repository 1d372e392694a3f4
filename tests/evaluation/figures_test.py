"""What is drawn: the numbers of every line, what is missing, and a layout that hides nothing."""

import itertools
import math

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends import backend_agg

from l2o_tf.core import errors
from l2o_tf.evaluation import drawing, figures, paper_figures, published, results


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
    monkeypatch.setattr(drawing, "save", lambda figure, path: saved.append(figure))
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
    axis, *others = figure.axes
    assert not others and axis.get_xlim() == (0, 500)
    assert axis.get_title() == "MLP-orig"
    (line,) = lines_of(axis, drawing.COLORS["dm"])
    np.testing.assert_array_equal(line.get_xdata(), [100, 200, 300, 400, 500])
    np.testing.assert_allclose(line.get_ydata(), -np.arange(5) - 1.0, atol=1e-6)
    edges = axis.collections[0].get_paths()[0].vertices
    band = edges[np.isclose(edges[:, 0], 300), 1]
    assert [band.min(), band.max()] == pytest.approx([-4.0, -2.0], abs=1e-6)
    (dashed,) = lines_of(axis, drawing.COLORS["dm_cl_il"], "--")
    curve = published.figure(2)["MLP-orig", "L2O-DM-CL-IL"]
    assert dashed.get_xdata().max() <= 500 < curve.steps.max()
    np.testing.assert_array_equal(dashed.get_ydata(), curve.ln_loss[curve.steps <= 500])
    assert not lines_of(axis, drawing.COLORS["dm_cl_il"])
    assert texts_of(figure)[0] == [
        "L2O-Scale-Meta (missing)",  # Its published curve begins later.
        "L2O-Scale (published only)",
        "L2O-DM-CL-IL (published only)",
        "L2O-DM",
        "RNNprop",
    ]
    handles = figure.legends[0].get_lines()
    assert [handle.get_linestyle() for handle in handles] == ["-", "--", "--", "-", "-"]
    assert [handle.get_marker() for handle in handles] == ["v", "", "", "o", "D"]
    assert missing == [
        "L2O-Scale-Meta (scale_meta) on MLP-orig",
        "L2O-Scale (scale) on MLP-orig",
        "L2O-DM-CL-IL (dm_cl_il) on MLP-orig",
        "all series on MLP-ReLU, MLP-deeper, Conv-MNIST, Conv-CIFAR: left out",
    ]


def test_panels_are_chosen_by_title_or_optimizee(drawn):
    runs = [
        run for panel in paper_figures.FIGURES[5].panels for run in make_runs("dm", panel.optimizee)
    ]
    figures.paper_figure(5, runs, "unused", panels=("conv_mnist", "MLP-orig"))
    titles = [axis.get_title() for axis in drawn[0].axes if axis.axison]
    assert titles == ["MLP-orig", "Conv-MNIST"]
    with pytest.raises(errors.InputError, match="no panel 'lenet': it has MLP-orig .mlp., MLP"):
        figures.paper_figure(5, runs, "unused", panels=("lenet",))


def test_a_panel_of_runs_shorter_than_a_mean_is_left_out(drawn):
    short = results.Run("dm", "mlp_relu", "", "", 0, np.ones(99, np.float32))
    missing = figures.paper_figure(5, [*make_runs("dm", "mlp", num_steps=100), short], "unused")
    (axis,) = drawn[0].axes
    assert axis.get_title() == "MLP-orig" and not axis.lines[0].get_clip_on()
    assert missing[-1] == "all series on MLP-ReLU, MLP-deeper, Conv-MNIST, Conv-CIFAR: left out"


def test_tuned_learning_rates_are_in_the_legend(drawn):
    runs = make_runs("dm", "mlp") + make_runs("dm", "conv_mnist")
    for optimizee, rate in (("mlp", 0.01), ("conv_mnist", 0.003)):
        runs += [run._replace(learning_rate=rate) for run in make_runs("tuned:adam", optimizee)]
    figures.paper_figure(7, runs, "unused")
    assert "Adam (learning rate 0.01 on mlp, 0.003 on conv_mnist)" in texts_of(drawn[0])[0]
    figures.quick_look([run for run in runs if run.optimizee == "mlp"], "unused")
    assert texts_of(drawn[1])[0] == ["dm", "tuned:adam (learning rate 0.01)"]


def test_no_bands_are_promised_with_one_seed(drawn):
    figures.quick_look(make_runs("dm", "mlp", num_seeds=1), "unused")
    assert texts_of(drawn[0])[1] == "Lines: geometric mean over 10 steps and seeds"
    figures.quick_look(make_runs("dm", "mlp"), "unused")
    assert texts_of(drawn[1])[1].endswith("; bands: one standard deviation")
    figures.paper_figure(2, make_runs("dm", "mlp", 1, 200), "unused", published.figure(2))
    # Of published curves there is one point up to step 200, which is no line.
    assert texts_of(drawn[2])[1] == "Lines: 100-step means of ln loss, one seed."


def test_the_legend_says_where_a_series_is_published_only(drawn):
    runs = make_runs("dm", "mlp") + make_runs("rnnprop", "mlp") + make_runs("dm", "mlp_relu")
    figures.paper_figure(2, runs, "unused", published.figure(2))
    assert texts_of(drawn[0])[0][-1] == "RNNprop (published only: MLP-ReLU)"
    assert drawn[0].legends[0].get_lines()[-1].get_linestyle() == "-"


def test_missing_and_diverged_series_are_named(drawn):
    runs = [
        run
        for panel in paper_figures.FIGURES[3].panels
        for run in make_runs("rnnprop", panel.optimizee)
    ]
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
    (cross,) = [
        line
        for line in drawn[0].axes[0].lines
        if line.get_marker() == "X" and len(line.get_xdata()) == 1
    ]
    # The last window that all three share ends at step 200; mean of -1, -2, -3.
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == pytest.approx((200, -2.0), abs=1e-6)
    mean = lines_of(drawn[0].axes[0], drawing.COLORS["rnnprop"])[0].get_ydata()
    np.testing.assert_allclose(mean, [-1, -2, -3, -4, -5], atol=1e-6)


def test_the_doubtful_published_curve_is_named(drawn):
    figures.paper_figure(5, make_runs("dm", "conv_cifar"), "unused", published.figure(5))
    assert "probably mislabelled" in texts_of(drawn[0])[1]


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


def test_the_ticks_of_quick_look_follow_the_range(drawn):
    def ticks(num_steps):
        figures.quick_look(make_runs("dm", "mlp", num_steps=num_steps), "unused")
        drawn[-1].draw_without_rendering()
        axis = drawn[-1].axes[0]
        low, high = axis.get_ylim()
        ticks = zip(axis.get_yticks(), axis.get_yticklabels())
        return [label.get_text() for at, label in ticks if low <= at <= high]

    assert ticks(500) == "0.002 0.005 0.01 0.02 0.05 0.1 0.2 0.5 1".split()
    powers = [f"10^{{{power}}}" for power in (-8, -6, -4, -2, 0)]
    assert ticks(2000) == [rf"$\mathdefault{{{power}}}$" for power in powers]


def test_quick_look_has_a_panel_per_optimizee(drawn):
    runs = make_runs("dm", "mlp") + make_runs("dm", "lenet") + make_runs("mine", "lenet")
    figures.quick_look(runs, "unused")
    assert texts_of(drawn[0])[0] == ["dm", "mine"]
    mlp, lenet = drawn[0].axes
    assert (mlp.get_title(), lenet.get_title()) == ("mlp", "lenet")
    assert [line.get_color() for line in mlp.lines] == [drawing.COLORS["dm"]]
    assert [line.get_color() for line in lenet.lines][0] == drawing.COLORS["dm"]
    assert len(lenet.lines) == 2


def test_colours_are_distinct_within_every_panel():
    for figure in paper_figures.FIGURES.values():
        for panel in figure.panels:
            colors = [drawing.COLORS[series.rule] for series in panel.series]
            assert len(set(colors)) == len(colors)
    legacy = ["dm", "dm_aug", "dm_cl", "dm_il", "dm_cl_il", "rnnprop", "rnnprop_cl_il"]
    assert len({drawing.COLORS[rule] for rule in legacy}) == 7


def test_unknown_rules_get_free_looks():
    styles = drawing.styles(["a", "dm", "b", *map(str, range(15))])
    assert styles["dm"] == (drawing.COLORS["dm"], "o", "-")
    assert len({style[::2] for style in styles.values()}) == len(styles)


@pytest.mark.parametrize("share", [1, 3])
@pytest.mark.parametrize("number", [2, 6, 7])
def test_nothing_covers_anything(drawn, number, share):
    figure = paper_figures.FIGURES[number]
    keys = [(series.rule, panel.optimizee) for panel in figure.panels for series in panel.series]
    runs = [run for key in keys[::share] for run in make_runs(*key)]
    figures.paper_figure(number, runs, "unused")
    num_panels = len({optimizee for _, optimizee in keys[::share]})
    (figure,) = drawn
    renderer = backend_agg.FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    panels = [axis for axis in figure.axes if axis.axison]
    corner = [axis.get_legend() for axis in figure.axes if not axis.axison]
    boxes = [part.get_tightbbox(renderer) for part in [*panels, *figure.legends, *corner]]
    assert len(boxes) == num_panels + 1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_png_shows_the_series_in_its_colour(tmp_path):
    path = tmp_path / "new" / "figure.png"
    figures.paper_figure(7, make_runs("dm", "lenet"), path)
    image = (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int)
    blue = [int(drawing.COLORS["dm"][i : i + 2], 16) for i in (1, 3, 5)]
    shown = np.abs(image - blue).max(axis=-1) <= 2
    assert shown.sum() > 1000


@pytest.mark.parametrize(
    "ending, begin", [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")]
)
def test_formats_by_the_ending_with_the_same_bytes_each_time(tmp_path, ending, begin):
    paths = [tmp_path / f"{number}.{ending}" for number in range(2)]
    for path in paths:
        figures.quick_look(make_runs("dm", "mlp", num_steps=100), path)
    assert paths[0].read_bytes().startswith(begin)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with pytest.raises(errors.InputError, match="must end in one of .png, .pdf, .svg"):
        figures.quick_look(make_runs("dm", "mlp"), tmp_path / "x.jpg")


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(errors.InputError, match="figure 8 is unknown: choose one of 2, 3, 5"):
        figures.paper_figure(8, make_runs("dm", "mlp"), tmp_path / "x.png")
    with pytest.raises(errors.InputError, match="figure 4 is unknown .*l2o_tf.select draws it"):
        figures.paper_figure(4, make_runs("dm", "mlp"), tmp_path / "x.png")
    with pytest.raises(
        errors.InputError, match="nothing that figure 3 shows, such as scale on mlp"
    ):
        figures.paper_figure(3, make_runs("dm", "mlp"), tmp_path / "x.png")
    short = results.Run("dm", "mlp", "", "", 0, np.ones(99, np.float32))
    with pytest.raises(errors.InputError, match="means over 100 steps and no run is as long"):
        figures.paper_figure(2, [short], tmp_path / "x.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="cannot write"):
        figures.quick_look(make_runs("dm", "mlp"), tmp_path / "file" / "x.png")
