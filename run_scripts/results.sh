#!/usr/bin/env bash
# Rebuilds tables and figures from the committed evaluations, in a minute:
# data/results/NAME/{losses.npz,results.csv} -> table.txt, figureN.png and figureN.pdf beside them
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
draw() {
  WORKDIR="data/results/$1" draw_figure "$2" | tee "data/results/$1/table.txt"
}
draw legacy_weights 2
for figure in 7 6 5 3 2; do
  draw trained "$figure"
done
"$VENV_PYTHON" -m l2o_tf.benchmarks.cells
"$VENV_PYTHON" -m l2o_tf.benchmarks.spread --results=data/results/techniques
"$VENV_PYTHON" -m l2o_tf.benchmarks.spread --results=data/results/techniques_scale
