"""A report on rules from its flags to its files."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

from l2o_tf.core import flags, locks
from l2o_tf.evaluation import pool
from l2o_tf.keras_evaluation import bench, report, store, tasks, training
from l2o_tf.keras_evaluation.config import KerasReportConfig


def report_on(
    config: KerasReportConfig,
    tell: Callable[[str], None],
    prepare: Callable[[], None],
    show: Callable[[str], None] = lambda text: None,
) -> None:
    """Trains every task with every optimizer and seed that is not done yet; writes the report.

    Args:
        config: the flags.
        tell: is given what a person should read, a line at a time.
        prepare: what processes of --jobs call before they use TensorFlow.
        show: is given the table; by default it is in files only.

    Raises:
        InputError: for a rule, a task or data that cannot be used, or a directory that holds
            another report.
        Interrupted: after a KeyboardInterrupt.
    """
    lock = locks.exclusive(pathlib.Path(config.workdir) / ".lock", f"report {config.workdir}")
    with flags.resumable("keras_report", config), lock:
        show(_report_on(config, tell, prepare))


def _report_on(config, tell, prepare) -> str:
    here = bench.Workbench(config)
    chosen = tasks.names() if config.tasks == ("all",) else list(config.tasks)
    for name in chosen:
        tasks.check(name)
    kept = store.Store(pathlib.Path(config.workdir) / "runs")
    seeds = range(config.seed, config.seed + config.num_seeds)
    runs: dict[store.Key, training.Run] = {}
    for name in chosen:
        wanted = [bench.Wanted(name, label, seed) for seed in seeds for label in here.entries]
        # Makes the task here first: else all processes would download the data, or complain.
        found = {one: kept.read(one.key, here.identity(one)) for one in wanted}
        missing = [one for one, run in found.items() if run is None]
        done = len(runs) + len(found) - len(missing)
        with _open(config, here, missing, tell, prepare) as measure:
            for one, run in measure(missing):
                found[one] = kept.write(one.key, here.identity(one), run)
                done += 1
                tell(f"{one}: {outcome(run)} ({done} of {len(chosen) * len(wanted)})")
        runs |= {one.key: run for one, run in found.items() if run is not None}
    kinds = {label: entry.kind for label, entry in here.entries.items()}
    written = report.write(pathlib.Path(config.workdir), runs, kinds)
    tell(f"report.txt, report.csv and report.png are in {config.workdir}")
    return report.summary(written).rstrip("\n")


@contextlib.contextmanager
def _open(config, here: bench.Workbench, missing, tell, prepare) -> Iterator[pool.Measure]:
    """What trains a task: the bench, which shows how far a training is, or processes."""
    if config.jobs > 1 and missing:
        recipe = bench.__name__, (config, {name: e.identity for name, e in here.entries.items()})
        # They end with the task, because Keras and TensorFlow keep all that was ever compiled.
        with pool.open(config.jobs, recipe, prepare) as measure:
            yield measure
        return
    yield lambda wanted: ((one, here.measure(one, tell)) for one in wanted)


def outcome(run: training.Run) -> str:
    """What a training gave, in a few words."""
    if run.diverged_at:
        return f"diverged at step {run.diverged_at}"
    validation = "not finite" if run.validation_loss is None else f"{run.validation_loss:.4g}"
    return f"validation loss {validation}, {run.cpu_ms:.1f} CPU-ms per step"
