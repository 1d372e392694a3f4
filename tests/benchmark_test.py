import json
import types

import pytest

from l2o_tf import benchmark
from l2o_tf.benchmarks import evaluation, measuring, replicas, scaling
from l2o_tf.core import errors, flags


class Clocks:
    """Seconds that pass as tests want it: on the wall, in the process and in the kernel for it."""

    def __init__(self):
        self.wall, self.user, self.system = 100.0, 10.0, 1.0

    def work(self, wall, user, system):
        self.wall += wall
        self.user += user
        self.system += system

    def getrusage(self, who):
        assert who == "this process"
        return types.SimpleNamespace(ru_utime=self.user, ru_stime=self.system)


@pytest.fixture
def clocks(monkeypatch):
    found = Clocks()
    time = types.SimpleNamespace(perf_counter=lambda: found.wall)
    resource = types.SimpleNamespace(RUSAGE_SELF="this process", getrusage=found.getrusage)
    monkeypatch.setattr(measuring, "time", time)
    monkeypatch.setattr(measuring, "resource", resource)
    return found


def test_cpu_time_and_wall_time_are_per_step(clocks):
    measured = measuring.measure(lambda: clocks.work(wall=1, user=1.5, system=0.5), num_steps=4)
    # One second of two busy threads.
    assert measured == measuring.Measurement(cpu_ms=500, wall_ms=250)


def test_functions_are_timed_in_turn_and_the_median_repetition_counts(clocks):
    order = []
    # On the wall and of the CPUs; the medians are of different repetitions: 3 and 5, 16 and 7.
    seconds = {
        "a": iter([(9, 2), (3, 8), (1, 5), (2, 1), (20, 30)]),
        "b": iter([(4, 9), (16, 6), (64, 7), (32, 5), (8, 40)]),
    }

    def function(name):
        def run():
            order.append(name)
            wall, cpu = next(seconds[name])
            clocks.work(wall, user=cpu, system=0)

        return run

    measured = measuring.medians({name: function(name) for name in "ab"}, 2, repetitions=5)
    assert order == ["a", "b"] * 5
    assert measured["a"] == measuring.Measurement(cpu_ms=2500, wall_ms=1500)
    assert measured["b"] == measuring.Measurement(cpu_ms=3500, wall_ms=8000)


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
