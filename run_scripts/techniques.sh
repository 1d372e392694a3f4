#!/usr/bin/env bash
# Trains L2O-DM with each technique of the paper on the same number of optimizee steps, then prints
# the losses of the five rules after 100 and 1,000 steps of MLP-orig and MLP-ReLU over 5 seeds.
#   run_scripts/techniques.sh [FLAGS]     FLAGS are those of training, such as --data_dir=DIR
# BUDGET is the optimizee steps of each training (40000), SEED its seed (0), STEPS and SEEDS those of
# the evaluation (1000, 5), WORKDIR where all goes (runs/techniques), techniques.txt in it the table
# with the budget. An interrupted comparison goes on where it was.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
workdir=${WORKDIR:-runs/techniques} budget=${BUDGET:-40000} seed=${SEED:-0}
rules=
for system in dm dm_cl dm_il dm_cl_il dm_si; do
  run=$workdir/$system
  "$VENV_PYTHON" -m l2o_tf.train --flagfile="flags/l2o_$system.flags" --max_train_steps="$budget" \
    --period_epochs=10 --validation_epochs=5 --seed="$seed" --workdir="$run" "$@"
  rules=$rules,$system=$run
done

data=()
for flag in "$@"; do
  case $flag in --dataset=* | --data_dir=*) data+=("$flag") ;; esac
done
"$VENV_PYTHON" -m l2o_tf.evaluate --rules="${rules#,}" --optimizees=mlp,mlp_relu \
  --num_steps="${STEPS:-1000}" --num_seeds="${SEEDS:-5}" --workdir="$workdir/evaluation" \
  ${data[@]+"${data[@]}"}
{
  echo "Each rule was trained on $budget optimizee steps with seed $seed; flags: ${*:-none}"
  cat "$workdir/evaluation/table.txt"
} >"$workdir/techniques.txt"
