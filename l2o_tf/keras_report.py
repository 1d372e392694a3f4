"""Rules as drop-in optimizers beside Adam: `python -m l2o_tf.keras_report`."""

import functools

from l2o_tf import cli
from l2o_tf.keras_evaluation.config import KerasReportConfig

DESCRIPTION = """\
Trains Keras models, as people write them, with each rule by LearnedOptimizer and with Keras' Adam
and AdamW, and reports final losses, speed-ups in steps, times, memory and divergences: a table, a
CSV file and a figure. No shipped rule was trained on any of these models.

usage: python -m l2o_tf.keras_report --rules=RULE,... --workdir=DIR [flags]

example: python -m l2o_tf.keras_report --rules=rnnprop_cl_il,mine=runs/mine --workdir=runs/report
         python -m l2o_tf.keras_report --rules=runs/mine --tasks=all --num_seeds=3 --workdir=out
         python -m l2o_tf.keras_report --rules=rnnprop --tasks=my_file:make_model --workdir=out

The same command on an existing directory goes on where it was, also with more rules, tasks or
seeds."""


def main(config: KerasReportConfig) -> None:
    """Runs the command."""
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    prepare = functools.partial(cli.prepare_as, config)
    prepare()
    from l2o_tf.keras_evaluation import session

    session.report_on(config, cli.say, prepare, cli.show)


def command() -> None:
    """The command line, also installed as l2o-keras-report."""
    cli.run(KerasReportConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
