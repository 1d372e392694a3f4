"""The worked example of docs/extending.md."""

import csv
import pathlib
import re

import numpy as np
import tensorflow as tf

from l2o_tf import loading, optimizees, rules
from l2o_tf.optimizees.base import OPTIMIZEES
from l2o_tf.rules.base import RULES

REPOSITORY = pathlib.Path(__file__).parents[1]
GUIDE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")


def test_the_worked_example_trains_its_rule(tmp_path, monkeypatch):
    for registry in (RULES, OPTIMIZEES):  # The example's names do not outlive this test.
        monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL))
    exec(code, {"__name__": "example"})

    with open("runs/sign_average/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["kind"] for row in rows} >= {"meta_loss", "imitation", "validation"}
    trained, new = loading.load("runs/sign_average"), rules.create("sign_average")
    assert type(trained) is type(new)
    assert trained.weights()["log_rate"] > new.weights()["log_rate"] + 0.5

    # 40 steps on a new problem: the trained rule is better than the one that it started as.
    problem, ends = optimizees.create("least_squares", None), {}
    for name, rule in (("trained", trained), ("new", new)):
        params = problem.init(tf.constant([1, 2]))
        state = rule.init(params)
        for t in range(40):
            with tf.GradientTape() as tape:
                tape.watch(params)
                loss = problem.loss(params, problem.batch(tf.constant([1, 2]), t))
            updates, state = rule.update(tape.gradient(loss, params), state, params)
            params = [p + u for p, u in zip(params, updates)]
        ends[name] = float(loss)
    assert ends["trained"] < 0.9 * ends["new"]

    sign = rules.from_spec("sign:0.5")
    updates, _ = sign.update([tf.constant([3.0, -2.0, 0.0])], (), [tf.zeros([3])])
    np.testing.assert_array_equal(updates[0], [-0.5, 0.5, 0.0])


def test_the_guide_names_files_that_exist():
    for path in re.findall(r"`((?:l2o_tf|tests)/[\w/]+\.py)`", GUIDE):
        assert (REPOSITORY / path).exists(), path
