"""Processes that measure: what happens when one of them dies."""

import functools
import multiprocessing
import os

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


def test_a_process_that_dies_is_one_line_and_leaves_no_others():
    with pytest.raises(errors.InputError, match="has died, .*go on with fewer --jobs"):
        with pool.open(2, ("unused", None), functools.partial(os._exit, 9)) as measure:
            list(measure(range(4)))
    assert not multiprocessing.active_children()
