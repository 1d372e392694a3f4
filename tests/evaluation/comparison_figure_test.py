"""The figure of a comparison shows the numbers of the comparison."""

import numpy as np
import pytest

from l2o_tf.evaluation import comparison, comparison_figure, drawing, sources


def test_both_curves_over_their_difference(monkeypatch):
    saved = []
    monkeypatch.setattr(drawing, "save", lambda figure, path: saved.append(figure))
    steps = np.array([100, 200])
    never = np.full(2, np.inf)
    a, b = (
        sources.Source("dm on mlp", steps, np.array(values), 1, never, ())
        for values in ([[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.2]])
    )
    compared = [comparison.compare(a, b, 0.5)] * 6
    comparison_figure.draw(compared, ("mine", "B"), 0.5, "unused")
    (figure,) = saved
    assert len(figure.axes) == 12
    top, bottom = figure.axes[-2:]
    assert top.get_title() == "dm on mlp\nUNDECIDED"
    np.testing.assert_allclose(top.lines[0].get_ydata(), [2.0, 3.0])
    np.testing.assert_allclose(top.lines[1].get_ydata(), [0.0, 0.1])
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), [2.0, 2.9])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["mine", "B", "tolerance 0.5", "difference", "95 % interval"]
    assert figure.legends[0].get_title().get_text().endswith("one standard deviation")
    assert bottom.get_xlim() == (0, 200)
    assert figure.get_figwidth() == pytest.approx(3 * 3.2)  # Two rows of three, not five and one.
    single = [side._replace(values=side.values[:1]) for side in (a, b)]
    comparison_figure.draw([comparison.compare(*single, 0.5)], ("mine", "B"), 0.5, "unused")
    legend = saved[1].legends[0]
    assert legend.get_title().get_text() == ""  # Nothing is promised of one run.
    assert [text.get_text() for text in legend.get_texts()][2:] == ["tolerance 0.5", "difference"]


def test_a_series_without_windows_is_drawn_empty(tmp_path):
    dead = sources.Source("x", np.array([100]), np.full([2, 1], np.nan), 1, np.ones(2), ())
    comparison_figure.draw([comparison.compare(dead, dead)], ("A", "B"), 0.5, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000
