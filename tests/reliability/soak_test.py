"""The slope that a soak run states."""

import pytest

from tests.reliability import soak


def test_the_slope_is_that_after_the_first_tenth():
    warm_up = [(60.0 * i, i, 500.0 + 50 * i) for i in range(6)]
    later = [(60.0 * i, i, 800.0 + 3 * i / 60) for i in range(6, 61)]
    assert soak.slope(warm_up + later) == (pytest.approx(3.0), 360.0)


def test_resident_memory_is_that_of_a_process():
    assert 10 < soak.resident("self") < 100_000
