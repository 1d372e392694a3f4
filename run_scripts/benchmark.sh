#!/usr/bin/env bash
# Measures speed. Arguments are flags of l2o_tf.benchmark:
#   run_scripts/benchmark.sh                                     meta-training and evaluation
#   run_scripts/benchmark.sh --tables=scaling --repetitions=1    large optimizees: speed, memory
#   run_scripts/benchmark.sh --short                             a quick check that it works
#   run_scripts/benchmark.sh --help                              all flags
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
exec "$VENV_PYTHON" -m l2o_tf.benchmark "$@"
