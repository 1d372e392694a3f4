#!/usr/bin/env bash
# Rebuilds tables and figures from the committed evaluations, in a minute:
#   data/results/NAME/{losses.npz,results.csv} -> table.txt, figure2.png beside them
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
for losses in data/results/*/losses.npz; do
  directory=$(dirname "$losses")
  "$VENV_PYTHON" -m l2o_tf.plot --figure=2 --published --results="$directory" \
    --out="$directory/figure2.png" >"$directory/table.txt"
  cat "$directory/table.txt"
done
