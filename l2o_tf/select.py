"""Chooses the best of many trained rules: `python -m l2o_tf.select RUNS...`."""

import functools

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

    selecting.select(config, cli.say, functools.partial(cli.prepare_as, config), cli.show)


def command() -> None:
    """The command line, also installed as l2o-select."""
    cli.run(SelectConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
