"""Chooses the best of many trained rules: `python -m l2o_tf.select RUNS...`."""

import functools
import sys

from l2o_tf import cli
from l2o_tf.evaluation.config import SelectConfig

DESCRIPTION = """\
Chooses the best of many trained rules on the horizon that counts: measures the snapshots of runs
on held-out images by successive halving, exports the best one with a card and a table of all, and
draws their losses over the epochs of training, a line per run.

usage: python -m l2o_tf.select RUN [RUN...] --workdir=DIR [flags]

example: python -m l2o_tf.select runs/rnnprop_seed* --workdir=runs/selected
         python -m l2o_tf.select runs/dm --optimizees=mlp --num_steps=1000 --rungs= --workdir=out

The same command on an existing directory goes on where it was, also with more runs."""


def main(config: SelectConfig) -> None:
    """Runs the command."""
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    cli.prepare_as(config)
    from l2o_tf.evaluation import selecting

    selecting.select(config, cli.say, functools.partial(cli.prepare_as, config))


def name_the_runs(argv: list[str]) -> list[str]:
    """Turns the arguments that are not flags into --runs."""
    prefix = "--runs="
    runs = [a.removeprefix(prefix) for a in argv[1:] if a.startswith(prefix) or a[:1] != "-"]
    flags = [a for a in argv[1:] if a[:1] == "-" and not a.startswith(prefix)]
    return [*argv[:1], *([prefix + ",".join(runs)] if runs else []), *flags]


def command() -> None:
    """The command line, also installed as l2o-select."""
    sys.argv = name_the_runs(sys.argv)
    cli.run(SelectConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
