"""Shows what rules make of gradients that stay the same: `python -m l2o_tf.response`."""

import dataclasses

from l2o_tf import cli
from l2o_tf.core import errors, flags

DESCRIPTION = """\
Feeds rules a gradient that does not change, of several sizes, until their updates settle, and
prints the learning rate of the SGD that they equal there, and the update that they make of
gradient 0. A rule whose rate is low at small gradients is slow late in a run. The rule mlp, which
scales the update of each tensor to its learning rate, has no such rate and is refused.

usage: python -m l2o_tf.response [--rules=RULE,...] [--snapshots=RUN,...] [flags]

example: python -m l2o_tf.response --rules=dm_cl_il,adam:0.01 --snapshots=runs/dm_cl_il"""


@dataclasses.dataclass(frozen=True)
class ResponseConfig(flags.CommandFlags):
    """The flags of the command.

    Raises:
        InputError: for a value out of range, or if no rule is named.
    """

    rules: tuple[str, ...] = flags.flag(
        (), "Rules as evaluate takes them, label=RULE for another label.", "Input"
    )
    snapshots: tuple[str, ...] = flags.flag(
        (), "Runs whose snapshots are measured too, or folders of such.", "Input"
    )
    sizes: tuple[float, ...] = flags.flag(
        (1e-6, 1e-5, 1e-4, 1e-3, 1e-2), "Sizes of the gradients.", "Measurement"
    )
    num_steps: int = flags.flag(500, "Steps until the updates are read.", "Measurement")
    out: str = flags.flag("", "A CSV file to write as well.", "Output")

    def __post_init__(self):
        if not (self.rules or self.snapshots):
            raise errors.InputError("--rules and --snapshots are empty: name a rule or a run")
        flags.require(self.num_steps >= 1, "num_steps", self.num_steps, "at least 1")
        if not self.sizes:
            raise errors.InputError("--sizes is empty: name at least one")
        for size in self.sizes:  # Those of gradients in single precision.
            flags.require(1e-37 <= size <= 1e37, "sizes", size, "from 1e-37 to 1e37")
        flags.check_numbers(self)


def main(config: ResponseConfig) -> None:
    """Runs the command."""
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    cli.import_tensorflow_quietly()
    from l2o_tf.core import files
    from l2o_tf.evaluation import contenders, response, selection, tuning

    rules = {}
    for label, rule in contenders.load(config.rules).items():
        if isinstance(rule, tuning.Tuned):
            raise errors.InputError(f"--rules: {label} has no rate without an optimizee")
        rules[label] = rule
    snapshots = selection.find(config.snapshots) if config.snapshots else []
    found = response.measure_all(rules, snapshots, config.sizes, config.num_steps)
    if config.out:
        files.write_atomically(config.out, response.to_csv(found, config.sizes).encode())
    cli.show(response.table(found, config.sizes))


def command() -> None:
    """The command line."""
    cli.run(ResponseConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
