#!/usr/bin/env bash
# Measures the speed of meta-training beside a plain implementation. Arguments are flags of
# l2o_tf.benchmark:
#   run_scripts/benchmark.sh                              the table of docs/performance.md
#   run_scripts/benchmark.sh --scaling                    speed and memory for large optimizees
#   run_scripts/benchmark.sh --keras                      what a rule costs in Keras beside Adam
#   run_scripts/benchmark.sh --short                      a quick check that it works
#   run_scripts/benchmark.sh --help                       all flags
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
exec "$VENV_PYTHON" -m l2o_tf.benchmark "$@"
