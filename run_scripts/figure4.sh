#!/usr/bin/env bash
# Figure 4: L2O-DM after 10,000 steps of MLP-orig, by the steps and epochs of its training, ten
# snapshots of each; on held-out images, as select measures.
#   run_scripts/figure4.sh [FLAGS]     FLAGS are those of select, such as --num_seeds=1 or --jobs=2
# The paper's 10,000 epochs take two days on two cores; EPOCHS=100 run_scripts/figure4.sh takes an
# hour, STEPS="100 200" leaves some out. WORKDIR is where all goes (runs/figure4), selection.png in
# it the figure; what is done is not done again. Validations choose nothing here and are short.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
workdir=${WORKDIR:-runs/figure4}
epochs=${EPOCHS:-10000}
runs=()
for steps in ${STEPS:-100 200 500 1000}; do
  run=$workdir/dm_steps$steps
  "$VENV_PYTHON" -m l2o_tf.train --num_steps="$steps" --num_epochs="$epochs" \
    --period_epochs=$((epochs / 10)) --validation_epochs=1 --max_snapshots=10 --workdir="$run"
  runs+=("$run")
done
"$VENV_PYTHON" -m l2o_tf.select "${runs[@]}" --optimizees=mlp --rungs= \
  --workdir="$workdir/selection" "$@"
