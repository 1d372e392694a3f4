"""Lines of progress by a clock that the test sets."""

import pytest

from l2o_tf.evaluation import progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_ten_seconds_with_what_is_left(clock):
    lines = []
    shown = progress.Progress(lines.append, 3, 1000)
    shown.skip()
    shown.start("dm on mlp, seed 0")
    clock[0] = 60.0  # Compilation and the first steps.
    shown(100)
    for steps in range(200, 1001, 100):
        clock[0] += 6.0
        shown(steps)
    assert lines == [
        "dm on mlp, seed 0: step 100 of 1000",
        "dm on mlp, seed 0: step 300 of 1000, 42 s left, about 2 min for all",
        "dm on mlp, seed 0: step 500 of 1000, 30 s left, about 90 s for all".replace(
            "90 s", "2 min"
        ),
        "dm on mlp, seed 0: step 700 of 1000, 18 s left, about 78 s for all",
        "dm on mlp, seed 0: step 900 of 1000, 6 s left, about 66 s for all",
    ]
    del lines[:]
    shown.start("dm on mlp, seed 1")
    shown(100)
    clock[0] += 12.0
    shown(300)
    assert lines == ["dm on mlp, seed 1: step 300 of 1000, 42 s left"]


@pytest.mark.parametrize(
    "seconds, text",
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (12_000, "3 h 20 min")],
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text
