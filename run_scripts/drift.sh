#!/usr/bin/env bash
# What a rule does without a gradient decides Conv-MNIST: rules of the package with another drift,
# 3,000 steps on held-out images, SEEDS (1) trajectories each, three quarters of an hour of a core for
# each; then what it costs on the MLPs, 10,000 steps on 10,000 training images, half an hour.
#   run_scripts/drift.sh [FLAGS]     FLAGS are those of evaluate, such as --data_dir=DIR
# WORKDIR is where the rules and the results go (runs/drift).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
workdir=$(folder_argument "${WORKDIR:-}" runs/drift)
cd "$REPOSITORY"
"$VENV_PYTHON" - "$workdir" <<'PYTHON'
import sys

import l2o_tf
from l2o_tf import rules

WITHOUT = {"drift": 0.0}
UNITS = [{"drift": drift, "drift_of": "units"} for drift in (5e-4, 2e-3, 5e-3)]
SMALL, LARGE = ({"drift": drift, "drift_of": "coordinates"} for drift in (2e-4, 5e-4))
VARIANTS = {"rnnprop": (WITHOUT, UNITS[1]), "rnnprop_cl_il": (WITHOUT, SMALL, LARGE, *UNITS)}
for name in ("dm", "dm_cl_il", "scale", "scale_cl_il"):
    VARIANTS[name] = (WITHOUT, SMALL, UNITS[1])
for name, variants in VARIANTS.items():
    for options in variants:
        rule = rules.with_options(l2o_tf.load(name), **options)
        label = "_".join(f"{value:g}" if type(value) is float else value for value in options.values())
        l2o_tf.save_rule(f"{sys.argv[1]}/rules/{name}_{label}", rule)
PYTHON
rules=$(rules_in "$workdir/rules")
"$VENV_PYTHON" -m l2o_tf.evaluate --rules="$rules" --optimizees=conv_mnist --split=validation \
  --num_steps="${STEPS:-3000}" --num_seeds="${SEEDS:-1}" --workdir="$workdir/evaluation" "$@"
exec "$VENV_PYTHON" -m l2o_tf.evaluate --rules="$rules" --optimizees=mlp,mlp_relu,mlp_deeper \
  --split="train[:10000]" --num_steps="${MLP_STEPS:-10000}" --num_seeds="${SEEDS:-1}" \
  --workdir="$workdir/mlps" "$@"
