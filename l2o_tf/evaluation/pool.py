"""Measurements side by side, in processes that each have their share of the CPUs.

Nothing here imports TensorFlow, which reads the number of threads when it is first used.
"""

import concurrent.futures
import contextlib
import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from l2o_tf.core import errors, processes

One = TypeVar("One")
Measure = Callable[[Iterable[One]], Iterator[tuple[One, Any]]]

# A module, by name, whose `Bench(argument)` has a method `measure`, and that argument; not a bench
# itself, which would import TensorFlow before a new process knows its threads.
Recipe = tuple[str, Any]

_bench: Any = None  # Of a process of a pool.


@contextlib.contextmanager
def open(jobs: int, recipe: Recipe, prepare: Callable[[], None]) -> Iterator[Measure]:
    """Yields a function that measures: measurements in, (measurement, what it gave) out.

    It asks for few measurements ahead of those that it has handed back, so that the next can
    depend on what is stored by then.

    Args:
        jobs: the number of processes; 1 for this one.
        recipe: of what measures, which each process makes for itself.
        prepare: what each new process calls before it uses TensorFlow; of a module's top level.

    Raises:
        InputError: from the function, for a rule or data that cannot be used, or if a process
            died.
    """
    if jobs == 1:
        bench = _make(recipe)
        yield lambda measurements: ((one, bench.measure(one)) for one in measurements)
        return
    others = set(multiprocessing.active_children())
    executor = concurrent.futures.ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(processes.shared_machine(jobs), recipe, prepare),
    )
    try:
        yield lambda measurements: _side_by_side(executor, jobs, measurements)
    except BaseException:
        # What they measure would only hold up who has pressed Ctrl-C; they hold nothing to save.
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()


def _side_by_side(executor, jobs, measurements):
    futures = {}
    try:
        for one in measurements:
            futures[executor.submit(_measure, one)] = one
            # One more than there are processes, so that none waits for what is done to be stored.
            yield from _done(futures, wait=len(futures) > jobs)
        while futures:
            yield from _done(futures, wait=True)
    except concurrent.futures.process.BrokenProcessPool:
        raise errors.InputError(
            "a process that measured has died, perhaps for lack of memory; what was measured is "
            "kept: go on with fewer --jobs"
        ) from None


def _done(futures, wait):
    """Takes out what is done, of which there is at least one if `wait`."""
    timeout, until = None if wait else 0, concurrent.futures.FIRST_COMPLETED
    done = concurrent.futures.wait(futures, timeout, until).done
    # What failed comes last: it ends all, and the others are to be stored before.
    for future in sorted(done, key=lambda future: future.exception() is not None):
        yield futures.pop(future), future.result()


def _make(recipe: Recipe) -> Any:
    module, argument = recipe
    return importlib.import_module(module).Bench(argument)


def _start(environment: dict[str, str], recipe: Recipe, prepare: Callable[[], None]) -> None:
    global _bench
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first one ends us.
    os.environ.update(environment)
    prepare()
    _bench = _make(recipe)


def _measure(measurement):
    return _bench.measure(measurement)
