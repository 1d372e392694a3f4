#!/usr/bin/env bash
# Measures L2O-DM's training on MLP-orig as 1, 8 and 32 lanes of an exported program, run by JAX on
# this machine's device; `python -m l2o_tf.benchmark --tables=meta_training` has l2o_tf.train's own.
#   run_scripts/lanes.sh [FLAGS]      FLAGS are those of run_bundle.py, such as --tf32
# SECONDS_EACH is how long each program is measured (20), WORKDIR where the bundle goes (runs/lanes).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
workdir=$(folder_argument "${WORKDIR:-}" runs/lanes)
cd "$REPOSITORY"
mkdir -p "$workdir"
if [[ ! -d "$workdir/bundle" ]]; then
  echo "--rule=dm --seeds=$(seq -s, 0 31)" >"$workdir/lanes.txt"
  "$VENV_PYTHON" -m l2o_tf.export --lanes="$workdir/lanes.txt" --widths=1,8,32 \
    --out="$workdir/bundle"
fi
"$VENV_PYTHON" "$workdir/bundle/run_bundle.py" --benchmark="${SECONDS_EACH:-20}" \
  --programs=train_1,train_8,train_32 "$@"
