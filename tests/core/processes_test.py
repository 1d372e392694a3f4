"""How processes share a machine."""

import os

from l2o_tf.core import processes


def test_the_cpus_are_divided(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    threads = [processes.shared_machine(n)["TF_NUM_INTRAOP_THREADS"] for n in (1, 2, 4, 8)]
    assert threads == ["6", "3", "1", "1"]
    # Those of TensorFlow within and between operations, and those of the libraries below it.
    assert processes.shared_machine(2) == {
        "TF_NUM_INTRAOP_THREADS": "3",
        "TF_NUM_INTEROP_THREADS": "3",
        "OMP_NUM_THREADS": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }


def test_a_gpu_is_shared_unless_a_person_said_otherwise(monkeypatch):
    # Set first: a variable that is not there is not restored, and what follows would stay.
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "")
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH")
    processes.share_gpu()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    processes.share_gpu()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"
