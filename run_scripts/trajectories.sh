#!/usr/bin/env bash
# Trains RNNprop on the embedded digits with 1, 2 and 4 trajectories per meta-step and the same
# number of optimizee steps, and says how the loss scatters over the seeds of the trainings.
#   run_scripts/trajectories.sh [DIR]     results go to DIR, data/results/trajectories by default
# BUDGET is the optimizee steps of a training (12800), TRAININGS the seeds of the trainings, WORKDIR
# where the runs go (runs/trajectories). An interrupted comparison goes on where it was.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
directory=$(folder_argument "${1:-}" data/results/trajectories)
workdir=$(folder_argument "${WORKDIR:-}" runs/trajectories)
cd "$REPOSITORY"
budget="${BUDGET:-12800}" trainings="${TRAININGS:-0,1,2,3}"
rules=
for count in 1 2 4; do
  # Eight periods of as many optimizee steps for each count.
  "$VENV_PYTHON" -m l2o_tf.train --rule=rnnprop --random_scaling=3 --dataset=digits --num_steps=100 \
    --trajectories_per_step="$count" --max_train_steps="$budget" \
    --period_epochs=$((budget / 800 / count)) --validation_epochs=10 --max_snapshots=1 \
    --seeds="$trainings" --jobs=2 --workdir="$workdir/$count"
  for seed in ${trainings//,/ }; do
    rules=$rules,${count}_$seed=$workdir/$count/seed_$seed
  done
done
"$VENV_PYTHON" -m l2o_tf.evaluate --rules="${rules#,}" --dataset=digits --num_steps=500 \
  --num_seeds=5 --workdir="$workdir/evaluation"
mkdir -p "$directory"
cp "$workdir/evaluation/results.csv" "$workdir/evaluation/losses.npz" "$directory"
"$VENV_PYTHON" -m l2o_tf.benchmarks.spread --results="$directory" --out="$directory/table.txt"
