"""Processes that measure: what happens when one of them dies."""

import functools
import multiprocessing
import os

import pytest

from l2o_tf.core import errors
from l2o_tf.evaluation import pool


def test_a_process_that_dies_is_one_line_and_leaves_no_others():
    with pytest.raises(errors.InputError, match="has died, .*go on with fewer --jobs"):
        with pool.open(2, ("unused", None), functools.partial(os._exit, 9)) as measure:
            list(measure(range(4)))
    assert not multiprocessing.active_children()
