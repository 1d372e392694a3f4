"""`python -m l2o_tf.export`: exports what runs without TensorFlow, takes back what came of it."""

import dataclasses
import shlex

from l2o_tf import cli
from l2o_tf.core import errors, files, flags
from l2o_tf.evaluation.config import EvaluateConfig, EvaluationFlags, SelectConfig
from l2o_tf.run import config

DESCRIPTION = """\
Writes a bundle: programs as StableHLO, weights, data and schedules, and a run_bundle.py that needs
Python, NumPy and JAX only and runs many trainings or evaluations at once, its lanes, on any device
of JAX.

usage: python -m l2o_tf.export --lanes=FILE --out=BUNDLE [flags]
       python -m l2o_tf.export --what=evaluate --rules=A,B --out=BUNDLE [flags]
       python -m l2o_tf.export --what=select --runs=A,B --out=BUNDLE [flags]
       python -m l2o_tf.export [--what=evaluate|select] --results=DIR --out=RUNS
       python -m l2o_tf.export --what=rule --rules=RULE --shapes=784x20,20 --out=BUNDLE

Each line of FILE has the flags of one `python -m l2o_tf.train`, and may have --seeds=0,1,2 in
place of --seed, for one lane of each seed. An evaluation has the flags of
`python -m l2o_tf.evaluate`; a selection measures every snapshot of the runs on all --num_steps, on
held-out images. The fourth form takes back the results that run_bundle.py left in DIR: a run
directory for each lane, what `evaluate` writes, or what `select` goes on from. The last one writes
a rule's init and update for parameters of the given shapes, and exported_rule.py, which calls them
in JAX.

example: python -m l2o_tf.export --lanes=lanes.txt --widths=16,8 --out=bundle
         python bundle/run_bundle.py --out=results
         python -m l2o_tf.export --results=results --out=runs"""

_WHAT, _SPEED = "What to export", "Speed"
# The flags of every call, of what run_bundle.py runs, of runs that are measured, and of rules.
_COMMON = ("what", "out", "plugins", "data_dir")
_RUN = ("results", "data", "widths")
_MEASURED = (
    "optimizees",
    "optimizee_options",
    "dataset",
    "split",
    "num_steps",
    "num_seeds",
)
_RULES = ("rules", "init_lr_range")
# All flags but those of every call, by what is exported.
_FLAGS = {
    "train": (*_RUN, "lanes", "validation_width", "blocks"),
    "evaluate": (*_RUN, *_MEASURED, *_RULES, "seed", "tuned_dir"),
    "select": (*_RUN, *_MEASURED, "runs"),
    "rule": (*_RULES, "shapes"),
}


@dataclasses.dataclass(frozen=True)
class ExportConfig(EvaluationFlags):
    """The flags of `python -m l2o_tf.export`.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    what: str = flags.flag("train", "What to export: train, evaluate, select or rule.", _WHAT)
    lanes: str = flags.flag("", "The file with the flags of each lane, to train.", _WHAT)
    runs: tuple[str, ...] = flags.flag(
        (), "Directories of the runs whose snapshots are measured, to select.", _WHAT
    )
    split: str = flags.flag(
        "",
        "The images that the optimizee is trained on, as evaluate and select take it. Default: "
        "test; to select, those that are held out.",
        _WHAT,
    )
    results: str = flags.flag("", "Results to take back.", _WHAT)
    out: str = flags.flag("", "Where the bundle, or what came of it, goes.", _WHAT)
    shapes: tuple[str, ...] = flags.flag(
        (), "The shapes of the parameters of a rule, such as 784x20,20,20x10,10.", _WHAT
    )
    data: bool = flags.flag(True, "Let the bundle hold the images.", _WHAT)
    widths: tuple[int, ...] = flags.flag(
        (8,), "How many lanes the programs run at once; a run goes to narrower ones.", _SPEED
    )
    validation_width: int = flags.flag(8, "Trajectories of validation at once.", _SPEED)
    blocks: int = flags.flag(
        0,
        "Parts of a lane's coordinates that are products of their own. Default: by the widths.",
        _SPEED,
    )

    def __post_init__(self):
        if self.what not in _FLAGS:
            raise errors.InputError(f"--what={self.what} must be one of {', '.join(_FLAGS)}")
        flags.require_given(self, "out", "DIR", "where to write to")
        if not self.widths or min(*self.widths, self.validation_width) < 1 or self.blocks < 0:
            raise errors.InputError("--widths and --validation_width must be at least 1")
        if self.what == "train" and bool(self.lanes) == bool(self.results):
            raise errors.InputError("one of --lanes=FILE and --results=DIR is needed")
        self._check_foreign_flags()
        if self.results:
            return
        if self.what == "evaluate":
            self.evaluation()
        if self.what == "select":
            flags.require_given(self, "runs", "RUN,...", "whose snapshots are measured")
            self.selection()
        if self.what == "rule" and len(self.rules) != 1:
            raise errors.InputError("--what=rule needs one rule: --rules=RULE")
        if self.what == "rule" and not self.parameter_shapes():
            raise errors.InputError("--what=rule needs --shapes=784x20,20: of the parameters")

    def _check_foreign_flags(self):
        """Raises InputError for a flag that would change nothing."""
        fields = [field for field in dataclasses.fields(self) if field.name not in _COMMON]
        given = [field.name for field in fields if getattr(self, field.name) != field.default]
        for name in given:
            if name not in _FLAGS[self.what]:
                kinds = " or ".join(what for what, names in _FLAGS.items() if name in names)
                raise errors.InputError(f"--{name} is for --what={kinds}, not {self.what}")
        for name in given:
            if self.results and name != "results":
                raise errors.InputError(
                    f"--{name} is not for --results, which have it of their bundle: leave it out"
                )

    def parameter_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of --shapes.

        Raises:
            InputError: if they are no numbers.
        """
        try:
            shapes = [tuple(int(size) for size in text.split("x")) for text in self.shapes]
        except ValueError:
            shapes = [(0,)]
        if any(size < 1 for shape in shapes for size in shape):
            raise errors.InputError(
                f"--shapes={flags.to_text(self.shapes)} must be such as 784x20,20"
            )
        return shapes

    def evaluation(self) -> EvaluateConfig:
        """The evaluation that is exported."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(EvaluationFlags)}
        return EvaluateConfig(**{**given, "split": self.split or "test"}, workdir=self.out)

    def selection(self) -> SelectConfig:
        """The selection that is exported, of one rung."""
        given = {name: getattr(self, name) for name in ("runs", *_MEASURED, "data_dir", "plugins")}
        return SelectConfig(**{**given, "split": self.split or None}, rungs=(), workdir=self.out)


def read_lanes(path: str, data_dir: str | None = None) -> list[config.TrainConfig]:
    """Reads the runs that a file describes.

    Raises:
        InputError: if it cannot be read, has no lane or wrong flags; the message has the line.
    """
    configs = []
    for number, line in enumerate(files.read_text(path).splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                configs += _read_line(line)
            except (errors.InputError, ValueError) as error:  # ValueError: an open quotation.
                raise errors.InputError(f"{path}, line {number}: {error}") from None
    if not configs:
        raise errors.InputError(f"--lanes={path} has no lane")
    return [dataclasses.replace(c, data_dir=c.data_dir or data_dir) for c in configs]


def _read_line(line: str) -> list[config.TrainConfig]:
    parsed = cli.parse(config.TrainConfig, ["lanes", *shlex.split(line)])
    if not parsed.seeds:
        return [parsed]
    return [dataclasses.replace(parsed, seeds=(), jobs=1, seed=seed) for seed in parsed.seeds]


def main(export_config: ExportConfig) -> int:
    """Runs the command; returns its exit code."""
    configs = read_lanes(export_config.lanes, export_config.data_dir) if export_config.lanes else []
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    cli.import_tensorflow_quietly()
    if export_config.results:
        _take_back(export_config)
        return 0
    from l2o_tf.export import evaluations, rule_bundle, selections, trainings

    if export_config.what == "rule":
        shapes = export_config.parameter_shapes()
        rule_bundle.write(
            export_config.out, export_config.rules[0], shapes, export_config.init_lr_range
        )
        cli.say(f"the rule is in {export_config.out}: see exported_rule.py there")
        return 0
    if export_config.what == "evaluate":
        count = evaluations.write(
            export_config.out, export_config.evaluation(), export_config.widths, export_config.data
        )
    elif export_config.what == "select":
        count = selections.write(
            export_config.out, export_config.selection(), export_config.widths, export_config.data
        )
    else:
        count = len(configs)
        trainings.write(
            export_config.out,
            configs,
            export_config.widths,
            export_config.validation_width,
            export_config.blocks,
            export_config.data,
        )
    cli.say(
        f"{count} {'lanes' if export_config.what == 'train' else 'runs'} are in "
        f"{export_config.out}. Next, where JAX is:\n"
        f"  python {shlex.quote(f'{export_config.out}/run_bundle.py')} --out=results"
    )
    return 0


def _take_back(export_config: ExportConfig) -> None:
    from l2o_tf.export import evaluations, selections, trainings

    if export_config.what == "evaluate":
        evaluations.take_back(export_config.results, export_config.out, cli.say, cli.show)
        return
    if export_config.what == "select":
        runs = selections.take_back(export_config.results, export_config.out)
        sources = shlex.join(flags.to_text((run,)) for run in runs)
        cli.say(
            f"the measurements are in {export_config.out}. To select:\n  python -m l2o_tf.select "
            f"{sources} --rungs= [the other flags] --workdir={shlex.quote(export_config.out)}"
        )
        return
    written = trainings.take_back(export_config.results, export_config.out)
    for run in written:
        cli.say(f"wrote {run}")
    if not written:
        cli.say(f"{export_config.out} has the runs of {export_config.results}, further on")


if __name__ == "__main__":
    cli.run(ExportConfig, DESCRIPTION, main)
