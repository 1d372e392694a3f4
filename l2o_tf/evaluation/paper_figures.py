"""The figures of the paper as data: panels, series and the labels of their results.

Source: Chen et al., "Training Stronger Baselines for Learning to Optimize", NeurIPS 2020.
"""

from collections.abc import Sequence
from typing import NamedTuple

from l2o_tf.core import errors


class Series(NamedTuple):
    """One curve: its label in the paper and the rule label of its results."""

    label: str
    rule: str


class Panel(NamedTuple):
    """One panel: its title in the paper, the optimizee of its results, its curves."""

    title: str
    optimizee: str
    series: tuple[Series, ...]


class PaperFigure(NamedTuple):
    """One figure; `published` says whether its curves are in `data/published`."""

    caption: str
    panels: tuple[Panel, ...]
    published: bool = True


_DM = Series("L2O-DM", "dm")
_DM_CL_IL = Series("L2O-DM-CL-IL", "dm_cl_il")
_RNNPROP = Series("RNNprop", "rnnprop")
_SCALE = Series("L2O-Scale", "scale")
_FIVE_OPTIMIZEES = {
    "MLP-orig": "mlp",
    "MLP-ReLU": "mlp_relu",
    "MLP-deeper": "mlp_deeper",
    "Conv-MNIST": "conv_mnist",
    "Conv-CIFAR": "conv_cifar",
}


def _on_five(*series: Series) -> tuple[Panel, ...]:
    return tuple(Panel(title, name, series) for title, name in _FIVE_OPTIMIZEES.items())


_ANALYTICAL = (
    Series("Adam", "tuned:adam"),
    Series("RMSProp", "tuned:rmsprop"),
    Series("SGD", "tuned:sgd"),
)

# Of all figures that show losses but 4, which `select` draws.
FIGURES: dict[int, PaperFigure] = {
    2: PaperFigure(
        "Enhanced L2O-DM and previous learned optimizers",
        _on_five(Series("L2O-Scale-Meta", "scale_meta"), _SCALE, _DM_CL_IL, _DM, _RNNPROP),
    ),
    3: PaperFigure(
        "Learned optimizers with and without curriculum and imitation learning",
        _on_five(
            _SCALE,
            Series("L2O-Scale-CL-IL", "scale_cl_il"),
            _RNNPROP,
            Series("RNNprop-CL-IL", "rnnprop_cl_il"),
        ),
    ),
    5: PaperFigure(
        "Variants of L2O-DM",
        _on_five(
            _DM,
            Series("L2O-DM-AUG", "dm_aug"),
            Series("L2O-DM-IL", "dm_il"),
            Series("L2O-DM-CL", "dm_cl"),
        ),
    ),
    6: PaperFigure(
        "Imitation learning and self-improving",
        (
            Panel(
                "Conv-MNIST",
                "conv_mnist",
                (
                    Series("Baseline", "scale"),
                    Series("Self Improving", "scale_si"),
                    Series("Imitation Learning", "scale_il"),
                ),
            ),
        ),
    ),
    7: PaperFigure(
        "Against tuned analytical optimizers; larger optimizees",
        (
            Panel("[a] MLP-orig", "mlp", (_DM, _DM_CL_IL, *_ANALYTICAL)),
            Panel("[b] Conv-MNIST", "conv_mnist", (_DM, _DM_CL_IL, *_ANALYTICAL)),
            Panel("[c] NAS-CIFAR", "nas_cifar", (_DM, _DM_CL_IL)),
            Panel("[d] LeNet", "lenet", (_DM, _DM_CL_IL)),
        ),
        published=False,
    ),
}


def select(number: int, names: Sequence[str]) -> tuple[Panel, ...]:
    """The panels of a figure that have these titles or optimizees, or all without any name.

    Raises:
        InputError: if the figure has no panel of a name.
    """
    panels = FIGURES[number].panels
    for name in names:
        if not any(name in (panel.title, panel.optimizee) for panel in panels):
            known = ", ".join(f"{panel.title} ({panel.optimizee})" for panel in panels)
            raise errors.InputError(f"figure {number} has no panel {name!r}: it has {known}")
    return tuple(p for p in panels if not names or {p.title, p.optimizee} & set(names))


def labels_of(panel: str, series: str) -> tuple[str, str] | None:
    """Our (rule, optimizee) for a panel and a series as named in the paper; None if unknown."""
    for figure in FIGURES.values():
        for candidate in figure.panels:
            for curve in candidate.series:
                if (candidate.title, curve.label) == (panel, series):
                    return curve.rule, candidate.optimizee
    return None
