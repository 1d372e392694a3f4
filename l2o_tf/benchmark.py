"""Measures the speed of meta-training: `python -m l2o_tf.benchmark`."""

import dataclasses
import json
import sys

from l2o_tf import cli, errors

DESCRIPTION = """\
Measures meta-training, imitation and forward unrolls, each beside a plain implementation in the
same process, and prints a table. CPU time counts all cores; on a busy machine trust it and the
ratios, not the wall time. Needs no data: images are random.

usage: python -m l2o_tf.benchmark [flags]

example: python -m l2o_tf.benchmark --workloads=dm_mlp --out=benchmark.json"""

WORKLOADS = ("dm_mlp", "rnnprop_mlp", "dm_conv_mnist")
MODES = ("train", "imitate", "forward")


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """The flags of the command."""

    workloads: tuple[str, ...] = cli.flag(
        WORKLOADS, f"What to measure, of {', '.join(WORKLOADS)}: rule and optimizee.", "What"
    )
    modes: tuple[str, ...] = cli.flag(MODES, f"How they are run, of {', '.join(MODES)}.", "What")
    scaling: bool = cli.flag(
        False,
        "Instead: steps per second and peak memory of L2O-DM's meta-training for 10^4, 10^5 and"
        " 10^6 coordinates and unrolls of 20, 50 and 100 steps; takes some 10 minutes.",
        "What",
    )
    keras: bool = cli.flag(
        False,
        "Instead: a step of Keras with L2O-DM, RNNprop and Adam as rules beside Keras' Adam, for"
        " models of 16 thousand and 1 million parameters.",
        "What",
    )
    repetitions: int = cli.flag(
        7, "Measurements of each implementation in turn; the table has their medians.", "How"
    )
    short: bool = cli.flag(
        False, "A check that all works, in about a minute: few steps, measured once.", "How"
    )
    out: str = cli.flag("", "JSON file for the results.", "How")

    def __post_init__(self):
        for name, values, known in [
            ("workloads", self.workloads, WORKLOADS),
            ("modes", self.modes, MODES),
        ]:
            for value in values:
                if value not in known:
                    raise errors.InputError(
                        f"--{name}: {value!r} is unknown; known: {', '.join(known)}"
                    )
        if self.scaling and self.keras:
            raise errors.InputError("--scaling and --keras are two measurements: give one of them")
        if self.repetitions < 1:
            raise errors.InputError(f"--repetitions={self.repetitions} must be at least 1")


def main(config: BenchmarkConfig) -> None:
    """Runs the command."""
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    cli.import_tensorflow_quietly()
    from l2o_tf import benchmark_workloads

    if config.scaling:
        rows = benchmark_workloads.scaling(short=config.short)
        table = benchmark_workloads.scaling_table(rows)
    elif config.keras:
        from l2o_tf import benchmark_keras

        rows = benchmark_keras.compare(config.repetitions, short=config.short)
        table = benchmark_keras.table(rows)
    else:
        rows = benchmark_workloads.compare(
            config.workloads, config.modes, config.repetitions, short=config.short
        )
        table = benchmark_workloads.comparison_table(rows)
    machine = benchmark_workloads.machine()
    sys.stdout.write("".join(f"{key}: {value}\n" for key, value in machine.items()) + table)
    if config.out:
        results = {"machine": machine, "rows": rows}
        with open(config.out, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    cli.run(BenchmarkConfig, DESCRIPTION, main)
