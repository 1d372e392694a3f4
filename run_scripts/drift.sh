#!/usr/bin/env bash
# What a rule does without a gradient decides Conv-MNIST: rules of the package with another drift,
# 3,000 steps on held-out images, SEEDS (1) trajectories each; 13 minutes of a core for each.
#   run_scripts/drift.sh [FLAGS]     FLAGS are those of evaluate, such as --data_dir=DIR
# WORKDIR is where the rules and the results go (runs/drift).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
workdir=${WORKDIR:-runs/drift}
"$VENV_PYTHON" - "$workdir" <<'PYTHON'
import sys

import l2o_tf
from l2o_tf import rules

for name, drifts in (("dm_cl_il", (0.0, 2e-4)), ("rnnprop_cl_il", (0.0, 2e-4, 5e-4))):
    for drift in drifts:
        rule = rules.with_options(l2o_tf.load(name), drift=drift)
        l2o_tf.save_rule(f"{sys.argv[1]}/rules/{name}_{drift:g}", rule)
PYTHON
exec "$VENV_PYTHON" -m l2o_tf.evaluate --rules="$(rules_in "$workdir/rules")" \
  --optimizees=conv_mnist --split=validation --num_steps="${STEPS:-3000}" --num_seeds="${SEEDS:-1}" \
  --workdir="$workdir/evaluation" "$@"
