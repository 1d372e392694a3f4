"""Measures the speed of this package: `python -m l2o_tf.benchmark`."""

import dataclasses
import importlib

from l2o_tf import cli
from l2o_tf.core import errors, files, flags

DESCRIPTION = """\
Measures the speed of this package, each time beside something known in the same process, and
prints tables:
  meta_training  meta-training, imitation and forward unrolls beside a plain implementation
  evaluation     steps of learned rules beside Adam's
  keras_step     the update and a training step in Keras with L2O-DM, RNNprop and Adam as rules,
                 beside Keras' Adam, for models of 16 thousand and 1 million parameters
  keras_large    the same for 10 million parameters, without L2O-DM; takes 10 GB of memory
  keras_overhead an update of 16 thousand parameters by the optimizer, by its program on plain
                 tensors, and as part of a loop inside one program
  scaling        L2O-DM's meta-training for 10^4, 10^5 and 10^6 coordinates and unrolls of 20, 50
                 and 100 steps, with peak memory; takes some 10 minutes
  replicas       trajectories per second for 1, 2, 4 and 8 of them per meta-step, and for two
                 processes of one thread each beside one of two
CPU time counts all cores; on a busy machine trust it and the ratios, not the wall time. Needs no
data: images are random.

usage: python -m l2o_tf.benchmark [flags]

example: python -m l2o_tf.benchmark --tables=evaluation,scaling --out=benchmark.json"""

TABLES = (
    "meta_training",
    "evaluation",
    "keras_step",
    "keras_large",
    "keras_overhead",
    "scaling",
    "replicas",
)


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(flags.CommandFlags):
    """The flags of the command."""

    tables: tuple[str, ...] = flags.flag(
        ("meta_training", "evaluation"), f"What to measure, of {', '.join(TABLES)}.", "What"
    )
    repetitions: int = flags.flag(
        7, "Measurements of each implementation in turn; a table has their medians.", "How"
    )
    short: bool = flags.flag(
        False, "A check that all works, in about a minute: few steps, measured once.", "How"
    )
    out: str = flags.flag("", "JSON file for the results.", "How")

    def __post_init__(self):
        for name in self.tables:
            if name not in TABLES:
                raise errors.InputError(
                    f"--tables: {name!r} is unknown; known: {', '.join(TABLES)}"
                )
        if self.repetitions < 1:
            raise errors.InputError(f"--repetitions={self.repetitions} must be at least 1")


def main(config: BenchmarkConfig) -> None:
    """Runs the command."""
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    cli.import_tensorflow_quietly()
    from l2o_tf.benchmarks import measuring

    results = {"machine": measuring.machine()}
    cli.show("".join(f"{key}: {value}\n" for key, value in results["machine"].items()))
    for name in config.tables:
        module = importlib.import_module(f"l2o_tf.benchmarks.{name}")
        results[name] = module.measure(1 if config.short else config.repetitions, config.short)
        if config.out:
            files.write_json(config.out, results)
        cli.show(f"\n{name}\n{module.table(results[name])}")


if __name__ == "__main__":
    cli.run(BenchmarkConfig, DESCRIPTION, main)
