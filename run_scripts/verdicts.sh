#!/usr/bin/env bash
# Counts how often compare is right on results whose truth is known: data/results/comparison
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
exec "$VENV_PYTHON" -m l2o_tf.benchmarks.verdicts --out=data/results/comparison/verdicts.txt "$@"
