#!/usr/bin/env bash
# Trains, selects, evaluates and publishes the rules that come with the package; about ten hours
# on two cores. What is done is not done again: an interrupted run goes on.
#   run_scripts/pretrained.sh [DIR]    runs and results go to DIR, runs/pretrained by default
#   BUDGET=400 STEPS=100 run_scripts/pretrained.sh DIR    tries it out in half an hour: so many
#                                                         steps a training, and a trajectory
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
directory=$(folder_argument "${1:-}" runs/pretrained)
cd "$REPOSITORY"
steps="${STEPS:-10000}"

train() {
  "$VENV_PYTHON" -m l2o_tf.train "$@" ${BUDGET:+--max_train_steps="$BUDGET"}
}

# The best snapshot of many seeds: NAME OPTIMIZEES FLAGS
# The first thousands of steps say little of the ten thousandth: no rungs.
select_best() {
  "$VENV_PYTHON" -m l2o_tf.select "$directory/$1" --workdir="$directory/$1_best" \
    --optimizees="$2" --num_steps="$steps" --rungs= --num_seeds=1 --jobs=2 "${@:3}"
}

train --flagfile=flags/rnnprop.flags --seeds=0,1,2,3,4,5,6,7 --jobs=2 --max_snapshots=1 \
  --workdir="$directory/rnnprop"
select_best rnnprop mlp
# As many images as the test has.
images=(--split="train[:10000]")
# The drift brings classes of Conv-MNIST back.
units='"drift": 0.002, "drift_of": "units"'
train --flagfile=flags/rnnprop_cl_il.flags --max_train_steps="${BUDGET:-40000}" \
  --rule_options="{$units}" --seeds=0,1,2,3 --jobs=2 --workdir="$directory/rnnprop_cl_il"
select_best rnnprop_cl_il mlp,mlp_relu,mlp_deeper "${images[@]}"
runs=(rnnprop rnnprop_cl_il)
for system in dm dm_il dm_cl dm_cl_il dm_aug; do
  train --flagfile="flags/l2o_${system}_centered.flags" --max_train_steps="${BUDGET:-20000}" \
    --rule_options="{\"centered\": true, $units}" --seeds=0,1,2,3 --jobs=2 --max_snapshots=8 \
    --workdir="$directory/$system"
  select_best "$system" mlp,mlp_relu,mlp_deeper "${images[@]}"
  runs+=("$system")
done
for system in scale scale_il scale_si scale_meta scale_cl_il; do
  train --flagfile="flags/l2o_${system}_fixed_lr.flags" --rule_options="{$units}" \
    --seeds=0,1,2,3 --jobs=2 --workdir="$directory/$system"
  select_best "$system" mlp,mlp_relu,mlp_deeper "${images[@]}"
  runs+=("$system")
done

sources=
for run in "${runs[@]}"; do
  sources=$sources,$run=$directory/${run}_best
done
"$VENV_PYTHON" -m l2o_tf.evaluate --rules="${sources#,}" --optimizees=mlp,mlp_relu,mlp_deeper \
  --num_seeds=3 --num_steps="$steps" --workdir="$directory/evaluation"
for run in "${runs[@]}"; do
  "$VENV_PYTHON" -m l2o_tf.publish --run="$directory/${run}_best" --results="$directory/evaluation" \
    --label="$run" --commit="$(git rev-parse --short HEAD)" \
    --out="$directory/published/$run"
done
