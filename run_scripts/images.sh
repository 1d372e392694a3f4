#!/usr/bin/env bash
# How many images a rule is chosen on: snapshots of L2O-DM and L2O-DM-IL with a drift of 2e-4,
# on the 5,000 held-out images of MNIST and on 10,000, as many as the test has; half an hour on two
# cores.
#   run_scripts/images.sh [FLAGS]     FLAGS are those of evaluate, such as --data_dir=DIR
# STEPS is the steps of a trajectory (10000), WORKDIR where the rules and the results go (runs/images).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
workdir=$(folder_argument "${WORKDIR:-}" runs/images)
cd "$REPOSITORY"
"$VENV_PYTHON" - "$workdir" <<'PYTHON'
import sys

import l2o_tf
from l2o_tf import artifacts, rules

SNAPSHOTS = [("dm_il", "c032", 125), ("dm_il", "c035", 75), ("dm_il", "c034", 100), ("dm", "c038", 25)]
for system, run, epoch in SNAPSHOTS:
    folder = f"data/results/candidates/centered/{system}/{run}"
    rule = artifacts.load_rule(folder, f"{folder}/snapshots/epoch_{epoch:06}.npz")
    l2o_tf.save_rule(f"{sys.argv[1]}/rules/{system}_{run}", rules.with_options(rule, drift=2e-4))
PYTHON
for split in validation "train[45000:]"; do
  "$VENV_PYTHON" -m l2o_tf.evaluate --rules="$(rules_in "$workdir/rules")" \
    --optimizees=mlp,mlp_relu --split="$split" --num_steps="${STEPS:-10000}" --num_seeds=1 \
    --workdir="$workdir/${split%%\[*}" "$@"
done
