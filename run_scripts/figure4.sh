#!/usr/bin/env bash
# Figure 4: L2O-DM after 10,000 steps of MLP-orig, by steps and epochs of its training.
# Trains the 40 rules first, each in its own run directory, which takes days on a CPU; finished
# ones are not trained again. STEPS and EPOCHS choose some: STEPS=100 EPOCHS="1000 2000" figure4.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
rules=
for steps in ${STEPS:-100 200 500 1000}; do
  for epochs in ${EPOCHS:-1000 2000 3000 4000 5000 6000 7000 8000 9000 10000}; do
    run=runs/dm_steps${steps}_epochs${epochs}
    "$VENV_PYTHON" -m l2o_tf.train --num_steps="$steps" --num_epochs="$epochs" --workdir="$run"
    rules=$rules,$(basename "$run")=$run
  done
done
"$(dirname "$0")/figure.sh" 4 "${rules#,}" mlp "$@"
