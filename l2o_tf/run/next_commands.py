"""What to run after a training, as it is typed."""

import shlex

from l2o_tf import rules
from l2o_tf.core import flags
from l2o_tf.rules.base import RULES
from l2o_tf.run import config


def after_run(run_config: config.TrainConfig) -> str:
    """The commands that evaluate the rule of a run and show its curves."""
    workdir = run_config.workdir
    parts = [
        _typed("rules", (workdir, "tuned:adam", "tuned:sgd")),
        *_problem(run_config),
        _typed("workdir", f"{workdir}/evaluation"),
    ]
    logdir = _typed("logdir", workdir)
    return f"{_command('python -m l2o_tf.evaluate', parts)}\n  tensorboard {logdir}"


def after_seeds(run_config: config.TrainConfig) -> str:
    """The command that chooses among the runs of several seeds."""
    workdir = run_config.workdir
    runs = shlex.quote(flags.to_text((workdir,)))
    parts = [runs, *_problem(run_config), _typed("workdir", f"{workdir}_selected")]
    return _command("python -m l2o_tf.select", parts)


def _problem(run_config: config.TrainConfig) -> list[str]:
    """What makes the rule and the optimizees of a run."""
    # That of a rule that was typed as module:Class, too: its card names the module.
    own = RULES.plugin(rules.find(run_config.rule))
    plugins = (*run_config.plugins, *([own] if own else []))
    return [
        _typed("optimizees", run_config.optimizee),
        _typed("optimizee_options", run_config.optimizee_options),
        _typed("plugins", tuple(dict.fromkeys(plugins))),
        _typed("dataset", run_config.dataset),
        _typed("data_dir", run_config.data_dir),
    ]


def _typed(name: str, value: str | tuple[str, ...] | None) -> str:
    return f"--{name}={shlex.quote(flags.to_text(value))}" if value else ""


def _command(command: str, parts: list[str]) -> str:
    return " ".join([command, *filter(None, parts)])
