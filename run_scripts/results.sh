#!/usr/bin/env bash
# Rebuilds tables and figures from the committed evaluations, in a minute:
# data/results/NAME/{losses.npz,results.csv} -> table.txt, figureN.png and figureN.pdf beside them
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
draw() {
  "$VENV_PYTHON" -m l2o_tf.plot --results="data/results/$1" --figure="$2" --published \
    --out="data/results/$1/figure$2.png,data/results/$1/figure$2.pdf" | tee "data/results/$1/table.txt"
}
draw legacy_weights 2
draw trained 5
draw trained 3
draw trained 2
"$VENV_PYTHON" -m l2o_tf.benchmarks.cells
