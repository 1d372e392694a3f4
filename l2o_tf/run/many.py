"""Several seeds of one meta-training, side by side: `python -m l2o_tf.train --seeds=0,1,2`.

Each seed is a run of its own, in a process of its own, in the directory WORKDIR/seed_N; what its
process writes is WORKDIR/seed_N.log.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable

import tqdm

from l2o_tf.core import errors, files, flags, processes
from l2o_tf.run import build, config, directory, next_commands, session

# The lines of a run that say how far it is; the others are the same for all seeds.
_PROGRESS = ("epoch ", "validation ", "baseline ", "resuming ", "done ", "error: ")


def train(run_config: config.TrainConfig, tell: Callable[[str], None]) -> dict[int, int]:
    """Trains or resumes a run for each of the seeds.

    Args:
        run_config: the flags; `seeds` and `jobs` say which and how many at a time, and with
            `dry_run` nothing is started.
        tell: is given what a person should read, a line at a time.

    Returns:
        The exit code of each seed's process; 128 + n where signal n ended it.

    Raises:
        InputError: for flags, data or directories that cannot be used; nothing is started then.
        Interrupted: after a KeyboardInterrupt; all runs are saved.
    """
    with directory.with_workdir(run_config, tell) as placed:
        return _train_in(placed, tell)


def _train_in(run_config: config.TrainConfig, tell: Callable[[str], None]) -> dict[int, int]:
    runs = {seed: _of_seed(run_config, seed) for seed in run_config.seeds}
    for one in runs.values():
        directory.RunDirectory(one.workdir).check(one)
    first, num_jobs = _first_to_begin(runs.values()), min(run_config.jobs, len(runs))
    if run_config.dry_run:
        tell(f"{len(runs)} runs, {num_jobs} at a time; one of them:")
        session.train(runs[run_config.seeds[0]], tell)
        return dict.fromkeys(runs, 0)
    build.parts(first)  # What is wrong with the flags is said once.
    tell(
        f"training {run_config.rule} with {len(runs)} seeds, {num_jobs} at a time, in "
        f"{run_config.workdir} with\n  {flags.to_flags(run_config)}"
    )
    lines = _Lines(run_config.seeds, tell)
    children = _Children(num_jobs, lines)
    with concurrent.futures.ThreadPoolExecutor(num_jobs) as threads:
        futures = {seed: threads.submit(children.run, seed, one) for seed, one in runs.items()}
        try:
            codes = {seed: future.result() for seed, future in futures.items()}
        except BaseException as error:
            children.interrupt()
            concurrent.futures.wait(futures.values())
            if not isinstance(error, KeyboardInterrupt):
                raise
            raise errors.Interrupted(
                f"saved the runs in {run_config.workdir}. To resume:\n"
                f"  python -m l2o_tf.train {flags.to_flags(run_config)}"
            ) from None
        finally:
            lines.close()
    _tell_the_end(codes, run_config, tell)
    return codes


class _Children:
    """The processes, which one call ends."""

    def __init__(self, jobs: int, lines: "_Lines"):
        self._environment = {**os.environ, **processes.shared_machine(jobs)}
        self._lines = lines
        self._lock, self._interrupted = threading.Lock(), False
        self._running: list[subprocess.Popen[str]] = []

    def run(self, seed: int, run_config: config.TrainConfig) -> int:
        """Runs one seed to its end; returns the exit code."""
        log = files.GrowingFile(f"{run_config.workdir}.log")
        with self._lock:
            if self._interrupted:
                return 130
            # In a session of its own, because Ctrl-C in a terminal is for all processes of one and
            # would come twice.
            process = subprocess.Popen(
                _command(run_config),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=self._environment,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.append(process)
        with contextlib.closing(log), process:
            for line in process.stderr or ():  # A pipe, as asked for.
                log.add(line.encode())
                if line.startswith(_PROGRESS):
                    self._lines.show(seed, line.rstrip())
        with self._lock:
            self._running.remove(process)
        code = process.returncode
        return code if code >= 0 else 128 - code

    def interrupt(self) -> None:
        """Lets the processes save and end, and starts no other one."""
        with self._lock:
            self._interrupted = True
            for process in self._running:
                process.terminate()


class _Lines:
    """One line of progress per seed: in place on a terminal, else as they come."""

    def __init__(self, run_seeds: tuple[int, ...], tell: Callable[[str], None]):
        self._tell, self._bars = tell, {}
        if sys.stderr.isatty():
            self._bars = {
                seed: tqdm.tqdm(
                    bar_format="{desc}", position=i, dynamic_ncols=True, desc=f"seed {seed}"
                )
                for i, seed in enumerate(run_seeds)
            }

    def show(self, seed: int, line: str) -> None:
        text = f"seed {seed}: {line}"
        if self._bars:
            self._bars[seed].set_description_str(text)
        else:
            self._tell(text)

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()


def _command(run_config: config.TrainConfig) -> list[str]:
    return [sys.executable, "-m", "l2o_tf.train", *shlex.split(flags.to_flags(run_config))]


def _of_seed(run_config: config.TrainConfig, seed: int) -> config.TrainConfig:
    workdir = os.path.join(run_config.workdir, f"seed_{seed}")
    return dataclasses.replace(run_config, seeds=(), jobs=1, seed=seed, workdir=workdir)


def _first_to_begin(runs: Iterable[config.TrainConfig]) -> config.TrainConfig:
    """The run that needs most: one without a copy of the rule of --init_from, if there is one."""
    known = [directory.RunDirectory(one.workdir).with_initial_rule(one) for one in runs]
    return next((one for one, run in zip(known, runs) if one == run), known[0])


def _tell_the_end(codes: dict[int, int], run_config: config.TrainConfig, tell) -> None:
    failed = {seed: code for seed, code in codes.items() if code}
    for seed, code in failed.items():
        tell(
            f"seed {seed} ended with exit code {code}: see {run_config.workdir}/seed_{seed}.log; "
            "the same command goes on with it"
        )
    if not failed:
        command = next_commands.after_seeds(run_config)
        tell(f"all {len(codes)} seeds are done. Next:\n  {command}")
