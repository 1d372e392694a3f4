"""The optimizers of a report: which they are, and what becomes of their rates."""

import math

import keras
import pytest

from l2o_tf.keras_evaluation import bench
from l2o_tf.keras_evaluation.config import DECAYS, KerasReportConfig

RATE, NUM_STEPS = 0.02, 100
LABELS = {"rule": "descent", "adam": f"keras adam:{RATE}", "adamw": f"keras adamw:{RATE}"}
DECAYING = {"none": set(), "rules": {"rule"}, "all": {"rule", "adam", "adamw"}}


def config(decay):
    return KerasReportConfig(
        rules=("descent=sgd:0.5",),
        adam_rates=(RATE,),
        adamw_rates=(RATE,),
        decay=decay,
        workdir="unused",
    )


def made(decay):
    """The optimizers by kind, each for NUM_STEPS steps."""
    return {entry.kind: entry.make(NUM_STEPS) for entry in bench.entries(config(decay))}


@pytest.mark.parametrize("decay", DECAYS)
def test_rates_fall_along_a_cosine_where_the_flag_says_so_and_rest_elsewhere(decay):
    for kind, optimizer in made(decay).items():
        whole = 1.0 if kind == "rule" else RATE  # The rule's updates are multiplied by it.
        for step in (0, 30, 50, NUM_STEPS):
            optimizer.iterations.assign(step)
            falls = kind in DECAYING[decay]
            share = (1 + math.cos(math.pi * step / NUM_STEPS)) / 2 if falls else 1
            assert float(optimizer.learning_rate) == pytest.approx(
                whole * share, rel=1e-5, abs=1e-8
            )


@pytest.mark.parametrize("decay", DECAYS)
def test_baselines_are_adam_without_and_adamw_with_weight_decay(decay):
    found = made(decay)
    assert type(found["adam"]) is keras.optimizers.Adam and found["adam"].weight_decay is None
    assert type(found["adamw"]) is keras.optimizers.AdamW
    assert found["adamw"].weight_decay == 0.004


@pytest.mark.parametrize("decay", DECAYS)
def test_an_identity_says_whether_the_rate_of_this_optimizer_falls(decay, monkeypatch):
    monkeypatch.setattr(bench.identities, "task_identity", lambda name, data_dir: {"data": name})
    here = bench.Workbench(config(decay))
    assert list(here.entries) == list(LABELS.values())
    for kind, label in LABELS.items():
        identity = here.identity(bench.Wanted("my_task", label, seed=0))
        assert identity["decay"] is (kind in DECAYING[decay])
        assert identity["data"] == "my_task" and identity["num_steps_scale"] == 1
        if kind != "rule":  # Of which the weights count too.
            assert identity["optimizer"] == f"{kind}:{RATE}"
