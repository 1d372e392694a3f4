#!/usr/bin/env bash
# Trains very short epochs for an hour and says how much the memory of the process grows; leaves
# memory.csv and memory.png in data/results/reliability. Other flags go to l2o_tf.train:
#   run_scripts/soak.sh --minutes=60 --out=data/results/reliability
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
exec "$VENV_PYTHON" -m tests.reliability.soak "$@"
