"""Processes that measure: what happens when one of them dies."""

import concurrent.futures
import functools
import multiprocessing
import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from l2o_tf.core import errors
from l2o_tf.evaluation import pool


class Bench:
    """Squares numbers, a negative one not at all."""

    def __init__(self, argument):
        self._argument = argument

    def measure(self, number):
        if number < 0:
            raise errors.InputError("negative")
        return self._argument, number**2


def nothing():
    pass


def test_results_are_handed_over_before_much_else_is_asked_for():
    asked, ahead = [], []

    def numbers():
        for number in range(20):
            asked.append(number)
            yield number

    with pool.open(2, (__name__, "of"), nothing) as measure:
        found = {}
        for number, squared in measure(numbers()):
            ahead.append(len(asked) - len(found))
            found[number] = squared
    assert found == {number: ("of", number**2) for number in range(20)}
    assert 1 <= max(ahead) <= 3  # Two processes, and one that waits for them.


def test_bad_input_of_a_process_is_that_of_the_command():
    with pytest.raises(errors.InputError, match="^negative$"):
        with pool.open(2, (__name__, "of"), nothing) as measure:
            list(measure([-1]))
    assert not multiprocessing.active_children()


class AtOnce(concurrent.futures.Executor):
    """Has done nothing until it has been given 20 numbers; of every second one `failure` comes."""

    def __init__(self, failure):
        self._failure, self._futures = failure, []

    def submit(self, function, number):
        self._futures.append(concurrent.futures.Future())
        if len(self._futures) == 20:
            for i, future in enumerate(self._futures):
                future.set_exception(self._failure) if i % 2 else future.set_result(i**2)
        return self._futures[-1]


@pytest.mark.parametrize(
    "failure, message",
    [(errors.InputError("negative"), "^negative$"), (BrokenProcessPool(), "was measured is kept")],
)
def test_what_is_measured_when_another_one_fails_is_handed_over(monkeypatch, failure, message):
    executor, found = AtOnce(failure), []
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", lambda *_, **__: executor)
    with pytest.raises(errors.InputError, match=message):
        with pool.open(20, (__name__, "of"), nothing) as measure:
            for result in measure(range(20)):
                found.append(result)
    assert sorted(found) == [(i, i**2) for i in range(0, 20, 2)]


def test_a_process_that_dies_is_one_line_and_leaves_no_others():
    with pytest.raises(errors.InputError, match="has died, .*go on with fewer --jobs"):
        with pool.open(2, ("unused", None), functools.partial(os._exit, 9)) as measure:
            list(measure(range(4)))
    assert not multiprocessing.active_children()
