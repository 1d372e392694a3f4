#!/usr/bin/env bash
# Meta-trains RNNprop with a curriculum and imitation on the embedded digits, compares it with SGD
# and Adam at their best learning rates on unseen seeds, prints a table and draws the curves.
#   run_scripts/quickstart.sh [DIR]    results go to DIR, runs/quickstart by default
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
directory=$(folder_argument "${1:-}" runs/quickstart)
cd "$REPOSITORY"

"$VENV_PYTHON" -m l2o_tf.train --flagfile=flags/quickstart.flags --workdir="$directory"
"$VENV_PYTHON" -m l2o_tf.evaluate --rules="learned=$directory,tuned:sgd,tuned:adam" \
  --dataset=digits --num_steps=500 --num_seeds=5 \
  --workdir="$directory/evaluation" --tuned_dir="$directory/tuned"
