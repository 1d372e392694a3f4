import math

import pytest

from l2o_tf.benchmarks import keras_overhead, keras_step


def test_the_models_are_as_large_as_they_say():
    counts = []
    for units in keras_step.HIDDEN_UNITS.values():
        sizes = [784, *units, 10]
        counts.append(sum((n + 1) * m for n, m in zip(sizes, sizes[1:])))
    assert counts == [15_910, 1_010_850, 9_882_510]


@pytest.mark.slow
def test_rows_and_table():
    rows = keras_step.measure(repetitions=1, short=True)
    names = list(keras_step.OPTIMIZERS)
    assert [(r["part"], r["optimizer"]) for r in rows] == [
        (part, name) for part in ("update", "step") for name in names
    ]
    for first in (0, len(names)):
        adam = rows[first]
        for row in rows[first : first + len(names)]:
            assert row["cpu_ms"] > 0 and row["wall_ms"] > 0
            assert math.isclose(row["wall_ratio"], row["wall_ms"] / adam["wall_ms"])
    lines = keras_step.table(rows).splitlines()
    assert lines[0].split() == "model part optimizer CPU ms x Adam wall ms x Adam".split()
    assert lines[1].split()[:4] == ["16k", "update", "keras", "adam"]


@pytest.mark.slow
def test_parts_of_an_update():
    rows = keras_overhead.measure(repetitions=1, short=True)
    assert [row["rule"] for row in rows] == list(keras_overhead.RULES)
    assert all(row[f"{part}_cpu_ms"] > 0 for row in rows for part in keras_overhead.PARTS)
    lines = keras_overhead.table(rows).splitlines()
    assert lines[1].split()[:2] == ["adam:0.001", f"{rows[0]['optimizer_cpu_ms']:.2f}"]
