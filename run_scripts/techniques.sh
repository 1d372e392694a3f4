#!/usr/bin/env bash
# The techniques of the paper in the mean over trainings, nothing selected: L2O-DM alone and with each
# technique on the same number of optimizee steps, several training seeds each, then every rule once on
# test images of MLP-orig and MLP-ReLU. Figure 6, L2O-Scale with imitation and self-improving, in three
# hours of one core, most of them for Conv-MNIST:
#   BUDGET=8000 SYSTEMS="scale_fixed_lr scale_si_fixed_lr scale_il_fixed_lr" \
#     OPTIMIZEES=mlp,mlp_relu,conv_mnist run_scripts/techniques.sh
#   run_scripts/techniques.sh [FLAGS]     FLAGS are those of training, such as --jobs=2
# BUDGET is the optimizee steps of each training (20000), SEEDS the training seeds (0,1,2,3), SYSTEMS
# the recipes (dm_centered dm_cl_centered dm_il_centered dm_cl_il_centered), each a flagfile without
# its l2o_, STEPS those of the evaluation (10000), WORKDIR where all goes (runs/techniques),
# techniques.txt in it the table. An interrupted comparison goes on where it was. With the defaults
# it takes three hours of one core.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
workdir=${WORKDIR:-runs/techniques} budget=${BUDGET:-20000} seeds=${SEEDS:-0,1,2,3}
rules=
for system in ${SYSTEMS:-dm_centered dm_cl_centered dm_il_centered dm_cl_il_centered}; do
  run=$workdir/$system
  "$VENV_PYTHON" -m l2o_tf.train --flagfile="$REPOSITORY/flags/l2o_$system.flags" \
    --max_train_steps="$budget" --seeds="$seeds" --workdir="$run" "$@"
  for seed in ${seeds//,/ }; do rules=$rules,${system}_$seed=$run/seed_$seed; done
done

shared=()
for flag in "$@"; do
  case $flag in --dataset=* | --data_dir=* | --jobs=*) shared+=("$flag") ;; esac
done
"$VENV_PYTHON" -m l2o_tf.evaluate --rules="${rules#,}" --optimizees="${OPTIMIZEES:-mlp,mlp_relu}" \
  --num_steps="${STEPS:-10000}" --num_seeds=1 --workdir="$workdir/evaluation" ${shared[@]+"${shared[@]}"}
"$VENV_PYTHON" -m l2o_tf.benchmarks.spread --results="$workdir/evaluation" --out="$workdir/spread.txt"
{
  echo "Trainings of $budget optimizee steps, seeds $seeds; flags: ${*:-none}"
  cat "$workdir/spread.txt"
} >"$workdir/techniques.txt"
