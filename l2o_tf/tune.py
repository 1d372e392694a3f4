"""Tunes analytical rules on optimizees: `python -m l2o_tf.tune`."""

from l2o_tf import cli
from l2o_tf.evaluation.config import TuneConfig

DESCRIPTION = """\
Searches a grid for the best learning rate of analytical rules on optimizees: the baselines of the
paper's figure 7. The results are cached where evaluate finds them for tuned:adam and the like.
More --rates add to those that were tried before: the winner is the best of all.

usage: python -m l2o_tf.tune [flags]

example: python -m l2o_tf.tune --rules=adam,sgd --optimizees=mlp --num_steps=1000"""


def main(config: TuneConfig) -> None:
    """Runs the command."""
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    cli.prepare_as(config)
    from l2o_tf.evaluation import session

    session.tune(config, cli.say, cli.show)


def command() -> None:
    """The command line, also installed as l2o-tune."""
    cli.run(TuneConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
