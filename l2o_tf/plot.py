"""Draws evaluation results: `python -m l2o_tf.plot`."""

import dataclasses

from l2o_tf import cli
from l2o_tf.core import errors, flags
from l2o_tf.evaluation import figures, paper_figures, published, results, tables

DESCRIPTION = """\
Draws loss curves from evaluation results, one of the paper's figures or a panel per optimizee,
and prints the table of their losses.

usage: python -m l2o_tf.plot --results=DIR[,DIR...] --out=FILE[,FILE...] [--figure=N [--published]]

example: python -m l2o_tf.plot --results=runs/first --out=first.png
         python -m l2o_tf.plot --figure=2 --results=runs/figure2 --out=figure2.pdf --published

A figure of the paper shows the natural log of the training loss as means over 100 steps and over
seeds, with a band of one standard deviation where there are two seeds. Series that the results
lack are named, panels without any are left out."""

FORMATS = (".png", ".pdf", ".svg")


@dataclasses.dataclass(frozen=True)
class PlotConfig(flags.CommandFlags):
    """The flags of `python -m l2o_tf.plot`.

    Raises:
        InputError: if flags are missing or do not fit together.
    """

    results: tuple[str, ...] = flags.flag(
        (), "Results directories, written by evaluate, separated by commas.", "Input"
    )
    figure: int | None = flags.flag(
        None,
        f"Which figure of the paper: {', '.join(map(str, paper_figures.FIGURES))}. "
        "Default: all curves, a panel for each optimizee. Figure 4 is drawn by l2o_tf.select.",
        "Input",
    )
    published: bool = flags.flag(
        False, "Overlay the paper's published curves, dashed (figures 2, 3, 5, 6).", "Input"
    )
    published_dir: str | None = flags.flag(
        None, "Where the published curves are. Default: those of the package.", "Input"
    )
    panels: tuple[str, ...] = flags.flag(
        (),
        "Panels of the figure, by title or optimizee, such as MLP-orig,conv_mnist. Default: all.",
        "Input",
    )
    out: tuple[str, ...] = flags.flag(
        (),
        "The files to write, separated by commas; endings decide: .png (300 dpi), .pdf or .svg.",
        "Output",
    )

    def __post_init__(self):
        if not self.results:
            raise errors.InputError("--results=DIR is missing: pass a directory of results")
        for name in self.out or ("",):
            expected = f"the name of a file that ends in one of {', '.join(FORMATS)}"
            flags.require(name.endswith(FORMATS), "out", name, expected)
        if self.published and self.figure is None:
            raise errors.InputError("--published needs --figure: it overlays a figure's curves")
        if self.panels and self.figure is None:
            raise errors.InputError("--panels needs --figure: it selects some of a figure's")


def main(config: PlotConfig) -> None:
    """Prints the table of losses, draws the figure and says where it is and what is missing."""
    runs = results.load_all(config.results)
    missing = []
    curves = None
    if config.published and config.figure is not None:
        curves = published.figure(config.figure, config.published_dir)
    for path in config.out:
        if config.figure is None:
            figures.quick_look(runs, path)
        else:
            missing = figures.paper_figure(config.figure, runs, path, curves, config.panels)
    cli.show(f"{tables.table(runs)}wrote {', '.join(config.out)}")
    for series in missing:
        cli.show(f"missing from the results: {series}")


def command() -> None:
    """The command line, also installed as l2o-plot."""
    cli.run(PlotConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
