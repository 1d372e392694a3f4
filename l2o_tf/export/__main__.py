"""`python -m l2o_tf.export`: exports what runs without TensorFlow, takes back what came of it."""

import dataclasses
import shlex
import sys

from l2o_tf import cli
from l2o_tf.core import errors, files, flags
from l2o_tf.run import config

DESCRIPTION = """\
Writes a bundle: programs as StableHLO, weights, data and schedules, and a run_bundle.py that needs
Python, NumPy and JAX only and trains many runs at once, its lanes, on any device of JAX.

usage: python -m l2o_tf.export --lanes=FILE --out=BUNDLE [flags]
       python -m l2o_tf.export --results=DIR --out=RUNS

Each line of FILE has the flags of one `python -m l2o_tf.train`, and may have --seeds=0,1,2 in
place of --seed, for one lane of each seed. The second form writes a run directory for each lane
from the results that run_bundle.py left in DIR.

example: python -m l2o_tf.export --lanes=lanes.txt --widths=16,8 --out=bundle
         python bundle/run_bundle.py --out=results
         python -m l2o_tf.export --results=results --out=runs"""

_WHAT, _SPEED = "What to export", "Speed"


@dataclasses.dataclass(frozen=True)
class ExportConfig(flags.CommandFlags):
    """The flags of `python -m l2o_tf.export`.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    what: str = flags.flag("train", "What to export; only train so far.", _WHAT)
    lanes: str = flags.flag("", "The file with the flags of each lane.", _WHAT)
    results: str = flags.flag("", "Results to take back.", _WHAT)
    out: str = flags.flag("", "Where the bundle, or the run directories, go.", _WHAT)
    data_dir: str | None = flags.flag(None, "Where the data sets are, as in training.", _WHAT)
    data: bool = flags.flag(True, "Let the bundle hold the images.", _WHAT)
    widths: tuple[int, ...] = flags.flag(
        (8,), "How many lanes the programs train at once; a run goes to narrower ones.", _SPEED
    )
    validation_width: int = flags.flag(8, "Trajectories of validation at once.", _SPEED)
    blocks: int = flags.flag(
        0,
        "Parts of a lane's coordinates that are products of their own. Default: by the widths.",
        _SPEED,
    )

    def __post_init__(self):
        if self.what != "train":
            raise errors.InputError(f"--what={self.what}: only train can be exported so far")
        if not self.out:
            raise errors.InputError("--out=DIR is needed: where to write to")
        if bool(self.lanes) == bool(self.results):
            raise errors.InputError("one of --lanes=FILE and --results=DIR is needed")
        if not self.widths or min(*self.widths, self.validation_width) < 1 or self.blocks < 0:
            raise errors.InputError("--widths and --validation_width must be at least 1")


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
    flags, seeds = [], None
    for word in shlex.split(line):
        if word.startswith("--seeds="):
            seeds = word.partition("=")[2].split(",")
        else:
            flags.append(word)
    parsed = [flags] if seeds is None else [[*flags, f"--seed={seed}"] for seed in seeds]
    return [cli.parse(config.TrainConfig, ["lanes", *words]) for words in parsed]


def main(export_config: ExportConfig) -> int:
    """Runs the command; returns its exit code."""
    configs = read_lanes(export_config.lanes, export_config.data_dir) if export_config.lanes else []
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    cli.import_tensorflow_quietly()
    from l2o_tf.export import bundle

    if configs:
        bundle.write_training(
            export_config.out,
            configs,
            export_config.widths,
            export_config.validation_width,
            export_config.blocks,
            export_config.data,
        )
        sys.stderr.write(
            f"{len(configs)} lanes are in {export_config.out}. Next, where JAX is:\n"
            f"  python {export_config.out}/run_bundle.py --out=results\n"
        )
        return 0
    for run in bundle.import_training(export_config.results, export_config.out):
        sys.stderr.write(f"wrote {run}\n")
    return 0


if __name__ == "__main__":
    cli.run(ExportConfig, DESCRIPTION, main)
