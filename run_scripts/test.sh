#!/usr/bin/env bash
# Runs the tests in .venv, which is made if needed. Arguments go to pytest:
#   run_scripts/test.sh              all but the slow tests
#   run_scripts/test.sh -m ""        all tests
#   run_scripts/test.sh tests/data   the tests of one folder
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
exec "$VENV_PYTHON" -m pytest "$@"
