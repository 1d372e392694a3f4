import math
import pathlib

import pytest

from l2o_tf.benchmarks import projection

NETWORK = projection.Network("test", latency=1e-3, bandwidth=4e6, scatter=0.1)


def test_a_ring_sends_each_float_almost_twice_from_every_worker():
    # 2 messages of half the 1,000 floats: 500 floats are 0.5 ms.
    assert projection.exchange_seconds(2, 1000, NETWORK) == pytest.approx(2 * (1e-3 + 0.5e-3))
    many = projection.exchange_seconds(1000, 1000, NETWORK)
    assert many == pytest.approx(1998 * (1e-3 + 1e-6))


def test_one_worker_waits_for_nobody():
    assert projection.meta_step_seconds(0.3, 1, 1000, NETWORK) == 0.3
    first = projection.rows(0.3, 10)[0]
    assert first["workers"] == 1
    assert first["speedup"] == first["efficiency"] == 1


def test_all_wait_for_the_slowest():
    waiting = projection.meta_step_seconds(1.0, 8, 0, NETWORK) - 14e-3
    assert waiting == pytest.approx(1 + 0.1 * math.sqrt(2 * math.log(8)))


def test_the_table_is_one_of_markdown():
    lines = projection.table(projection.rows(0.3, 10_000)).splitlines()
    assert len(lines) == 2 + 2 * len(projection.WORKERS)
    assert {line.count("|") for line in lines} == {7}


def test_the_page_has_what_the_committed_measurement_gives(capsys):
    repository = pathlib.Path(__file__).parents[2]
    projection.main(str(repository / "data" / "results" / "benchmark" / "benchmark.json"))
    table = capsys.readouterr().out.partition("\n\n")[2]
    assert table in (repository / "docs" / "scaling.md").read_text(encoding="utf-8")
