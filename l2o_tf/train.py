"""Meta-trains an update rule: `python -m l2o_tf.train`."""

from l2o_tf import cli
from l2o_tf.run import config

DESCRIPTION = """\
Meta-trains an update rule (a learned optimizer) by truncated unrolls, with a curriculum and with
imitation of analytical optimizers, as in "Training Stronger Baselines for Learning to Optimize".

usage: python -m l2o_tf.train [--workdir=DIR] [flags]

example: python -m l2o_tf.train --curriculum --imitation_r=0.2
         python -m l2o_tf.train --recipe=l2o_dm_cl_il --workdir=runs/dm_cl_il
         python -m l2o_tf.train --dataset=digits --num_epochs=200 --workdir=runs/first
         python -m l2o_tf.train --rule=rnnprop --seeds=0,1,2,3 --jobs=2 --workdir=runs/rnnprop

Without --workdir the run gets a directory of its own below runs/, which is named first. The same
command on an existing directory resumes the run. Ctrl-C saves first."""


def main(run_config: config.TrainConfig) -> int:
    """Runs the command; of several seeds the exit code is the worst."""
    # Late, because --help and a wrong flag must not wait for TensorFlow.
    if run_config.strategy == "multi_worker" and not run_config.dry_run:
        return _train_with_others(run_config)
    cli.prepare_as(run_config)
    from l2o_tf.run import many, session

    if run_config.seeds:
        return max(many.train(run_config, cli.say).values())
    session.train(run_config, cli.say)
    return 0


def _train_with_others(run_config: config.TrainConfig) -> int:
    cli.import_tensorflow_quietly(open_devices=False)
    from l2o_tf.run import session, workers

    with cli.quietly():
        replicas = workers.create(run_config)
    cli.prepare_as(run_config)
    with cli.asked_to_stop() as stopping:
        session.train(run_config, cli.say, replicas, stopping)
    return 0


def command() -> None:
    """The command line, also installed as l2o-train."""
    cli.run(config.TrainConfig, DESCRIPTION, main)


if __name__ == "__main__":
    command()
