import json

import pytest

from l2o_tf import benchmark
from l2o_tf.benchmarks import evaluation, measuring, replicas, scaling
from l2o_tf.core import errors, flags


def test_cpu_time_and_wall_time_are_per_step():
    measured = measuring.measure(lambda: sum(range(10**6)), num_steps=2)
    assert 0 < measured.cpu_ms < 1000 and 0 < measured.wall_ms < 1000
    again = measuring.medians({"a": lambda: None}, 1, 3)["a"]
    assert again.wall_ms < measured.wall_ms


def test_threads_that_the_environment_gives_are_recorded(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "3")
    machine = measuring.machine()
    assert (machine["intra_op_threads"], machine["inter_op_threads"]) == (1, 3)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    monkeypatch.delenv("TF_NUM_INTEROP_THREADS")
    machine = measuring.machine()
    assert machine["intra_op_threads"] == machine["inter_op_threads"] == machine["cores"]


@pytest.mark.slow
def test_short_tables_are_printed_and_written(tmp_path, capsys):
    out = tmp_path / "results.json"
    benchmark.main(
        benchmark.BenchmarkConfig(tables=("evaluation", "scaling"), short=True, out=str(out))
    )
    results = json.loads(out.read_text())
    rules = [row["rule"] for row in results["evaluation"]]
    assert rules == [evaluation.BASELINE, *evaluation.RULES]
    assert results["evaluation"][0]["cpu_ratio"] == 1
    assert all(row["cpu_ratio"] > 1 for row in results["evaluation"][1:])
    (row,) = results["scaling"]
    assert (row["coordinates"], row["unroll_length"]) == scaling.SHORT_SIZES[0]
    assert "CPU ms / Adam's" in capsys.readouterr().out


@pytest.mark.slow
def test_replicas_are_measured_in_this_process_and_in_others():
    rows = replicas.measure(1, short=True)
    assert [row["what"] for row in rows] == [
        "1 per meta-step",
        "2 per meta-step",
        "2 workers of one training x 1 threads",
    ]
    assert all(0 < row["per_second"] < 100 for row in rows)
    assert rows[-1]["exchange_ms"] > 0
    assert "ms per exchange" in replicas.table(rows)


@pytest.mark.parametrize("flags", [{"tables": ("speed",)}, {"repetitions": 0}])
def test_wrong_flags_are_named(flags):
    (name,) = flags
    with pytest.raises(errors.InputError, match=f"--{name}"):
        benchmark.BenchmarkConfig(**flags)


def test_help_does_not_wait_for_tensorflow(capsys):
    assert set(benchmark.TABLES) <= set(benchmark.DESCRIPTION.split())
    assert flags.to_flags(benchmark.BenchmarkConfig(tables=("scaling",))) == "--tables=scaling"
