"""Evaluates update rules on optimizees: `python -m l2o_tf.evaluate`."""

import functools

from l2o_tf import cli
from l2o_tf.evaluation.config import EvaluateConfig

DESCRIPTION = """\
Runs update rules on optimizees from several unseen seeds, prints a table of losses and draws the
curves. Rules can be learned ones, legacy files or analytical ones with a given or tuned rate.

usage: python -m l2o_tf.evaluate --rules=A,B --workdir=DIR [flags]

example: python -m l2o_tf.evaluate --rules=runs/dm_cl_il,tuned:adam,tuned:sgd \\
             --optimizees=mlp,mlp_relu --num_steps=1000 --num_seeds=3 --workdir=runs/evaluation"""


def main(config: EvaluateConfig) -> None:
    """Runs the command."""
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    cli.prepare_as(config)
    from l2o_tf.evaluation import session

    session.evaluate(config, cli.say, functools.partial(cli.prepare_as, config), cli.show)


def command() -> None:
    """The command line, also installed as l2o-evaluate."""
    cli.run(EvaluateConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
