#!/usr/bin/env bash
# What meta-training makes of the rule `mlp`: snapshots of data/results/candidates/mlp in Keras, and
# the learning rates of the perceptrons that they were trained on; 20 minutes on two cores.
#   run_scripts/meta_trained.sh [FLAGS]     FLAGS are those of keras_report, such as --num_seeds=1
# WORKDIR is where the rules and the results go (runs/meta_trained).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
workdir=$(folder_argument "${WORKDIR:-}" runs/meta_trained)
cd "$REPOSITORY"
"$VENV_PYTHON" - "$workdir" <<'PYTHON'
import sys

import l2o_tf
from l2o_tf import artifacts, rules

CANDIDATES = "data/results/candidates/mlp"
# Run, epoch, learning rate in Keras, and Adam's over it.
SNAPSHOTS = [
    *[("pes_slow", 1200, rate, 4.0) for rate in (0.001, 0.0005)],
    *[("pes", epoch, 0.001, 4.0) for epoch in (100, 350, 600)],
    ("pes", 600, 0.002, 4.0),
    *[("cl_il", epoch, 0.001, 4.0) for epoch in (50, 125)],
    *[("pes_full", epoch, 0.002, 2.0) for epoch in (200, 600)],
]


def snapshot(run, epoch):
    folder = f"{CANDIDATES}/{run}"
    return artifacts.load_rule(folder, f"{folder}/snapshots/epoch_{epoch:06}.npz")


def save(name, rule, rate, **options):
    changed = rules.with_options(rule, learning_rate=rate, **options)
    l2o_tf.save_rule(f"{sys.argv[1]}/{name}", changed)


for run, epoch, rate, factor in SNAPSHOTS:
    rule = snapshot(run, epoch)
    save(f"keras/{run}_{epoch}_{rate:g}", rule, rate, adam_factor=factor, total_steps=0)
for rate in (0.001, 0.003, 0.01, 0.03):
    for name, rule in (("start", l2o_tf.load("mlp")), ("slow", snapshot("pes_slow", 1200))):
        save(f"rates/{name}_{rate:g}", rule, rate, adam_factor=4.0, total_steps=500)
PYTHON

"$VENV_PYTHON" -m l2o_tf.evaluate --rules="$(rules_in "$workdir/rates")" --optimizees=mlp,mlp_relu,mlp_deeper \
  --dataset=digits --num_steps=500 --num_seeds=2 --workdir="$workdir/evaluation"
"$VENV_PYTHON" -m l2o_tf.keras_report --rules="mlp,mlp_full,$(rules_in "$workdir/keras")" --decay=rules \
  --workdir="$workdir/report" "$@"
