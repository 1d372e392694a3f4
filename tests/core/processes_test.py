"""How processes share a machine."""

import os

from l2o_tf.core import processes


def test_the_cpus_are_divided(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    threads = [processes.shared_machine(n)["TF_NUM_INTRAOP_THREADS"] for n in (1, 2, 4, 8)]
    assert threads == ["6", "3", "1", "1"]


def test_a_gpu_is_shared_unless_a_person_said_otherwise(monkeypatch):
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    processes.share_gpu()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    processes.share_gpu()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"
