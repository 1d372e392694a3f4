"""Exports a trained rule with a full card: `python -m l2o_tf.publish`."""

import dataclasses
import math
import pathlib

from l2o_tf import cli
from l2o_tf.core import errors, flags

DESCRIPTION = """\
Copies the rule of a run to a directory to share, with a card that says how it was trained and what
it reached: flags, validation curve or the scores of a selection, and the losses of an evaluation.

usage: python -m l2o_tf.publish --run=DIR --out=DIR --results=DIR --label=RULE \\
           --commit=HASH [flags]

example: python -m l2o_tf.publish --run=runs/rnnprop --out=l2o_tf/pretrained/rnnprop \\
             --results=data/results/trained --label=rnnprop \\
             --commit=$(git rev-parse --short HEAD)"""


@dataclasses.dataclass(frozen=True)
class PublishConfig(flags.CommandFlags):
    """The flags of the command.

    Raises:
        InputError: if one that is needed is missing.
    """

    run: str = flags.flag(
        "", "The run's directory, or one of its stages, or the directory of select.", "Input"
    )
    results: str = flags.flag("", "An evaluation of the rule.", "Input")
    label: str = flags.flag("", "What the rule is called in the evaluation.", "Input")
    commit: str = flags.flag("", "The commit of this package that trained it.", "Card")
    cpu_hours: float | None = flags.flag(None, "What the training cost.", "Card")
    licence: str = flags.flag("MIT", "The licence of the weights.", "Card")
    fit_for: str = flags.flag("", "For whom the rule is: models, numbers of steps.", "Card")
    baseline: bool = flags.flag(False, "A baseline of research, which users are warned of.", "Card")
    note: str = flags.flag("", "What else one should know.", "Card")
    out: str = flags.flag("", "The directory to write.", "Output")

    def __post_init__(self):
        for name in ("run", "results", "label", "commit", "out"):
            if not getattr(self, name):
                raise errors.InputError(f"--{name} is needed (--help says what for)")
        hours = self.cpu_hours
        flags.require(hours is None or 0 <= hours < math.inf, "cpu_hours", hours, "a number from 0")


def main(config: PublishConfig) -> None:
    """Runs the command."""
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    cli.import_tensorflow_quietly()
    from l2o_tf import artifacts
    from l2o_tf.core import files
    from l2o_tf.evaluation import results, statistics, tables
    from l2o_tf.run import metrics

    directory = pathlib.Path(config.run)
    rule = artifacts.load_rule(directory)
    card = files.read_json(directory / artifacts.RULE_CARD)
    found = [
        path for path in (directory, *directory.parents[:2]) if files.exists(path / "metrics.csv")
    ]
    if not found and "selection" not in card:
        raise errors.InputError(
            f"no metrics.csv in {directory}: --run must be the directory of a run or of select"
        )
    selection = card.get("selection", {})
    if not isinstance(selection, dict):
        raise errors.InputError(
            f"{directory / artifacts.RULE_CARD} is damaged: its selection is no object"
        )
    selection.pop("table", None)  # It stays with the selection.
    runs = [run for run in results.load(config.results) if run.rule == config.label]
    if not runs:
        raise errors.InputError(f"{config.results} holds no rule {config.label!r}")
    card |= {
        "commit": config.commit,
        "cpu_hours": config.cpu_hours,
        "licence": config.licence,
        "fit_for": config.fit_for,
        "baseline": config.baseline,
        "note": config.note,
        # JSON has no NaN: a validation that diverged has no loss.
        "validations": [
            row | {"loss": row["loss"] if math.isfinite(row["loss"]) else None}
            for path in found[:1]
            for row in metrics.read_validations(path / "metrics.csv")
        ],
        "results": {
            optimizee: tables.summary_at_decades(members)
            for (_, optimizee), members in statistics.group(runs).items()
        },
    }
    artifacts.save_rule(config.out, rule, card=card)


if __name__ == "__main__":
    cli.run(PublishConfig, DESCRIPTION, main)
