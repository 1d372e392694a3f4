"""The one line that an exception of other code becomes."""

import pytest

from l2o_tf.core import errors


@pytest.mark.parametrize(
    "error, plain, typed",
    [
        (ValueError("two\n  lines"), "two lines", "ValueError: two lines"),
        (ValueError(), "ValueError", "ValueError"),
        (KeyError("a"), "'a'", "KeyError: 'a'"),
        (OSError("x" * 1000), "x" * 300, "OSError: " + "x" * 291),
    ],
)
def test_reasons(error, plain, typed):
    assert errors.reason(error) == plain
    assert errors.reason(error, typed=True) == typed
