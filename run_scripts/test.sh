#!/usr/bin/env bash
# Runs the tests in .venv, which is made if needed, in a process per core, four at most. What is
# compiled stays in memory: 7 GB in all, with the slow tests 22 GB. Arguments go to pytest:
#   run_scripts/test.sh              all but the slow tests
#   run_scripts/test.sh -m ""        all tests
#   run_scripts/test.sh tests/data   the tests of one folder
#   run_scripts/test.sh -n 0         in one process, as a debugger needs it
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
processes=4
# Processes that each start a thread per core are in each other's way.
threads=$(("$("$VENV_PYTHON" -c 'import os; print(os.cpu_count())')" / processes))
export TF_NUM_INTRAOP_THREADS=${TF_NUM_INTRAOP_THREADS:-$((threads > 1 ? threads : 1))}
exec "$VENV_PYTHON" -m pytest -n auto --maxprocesses="$processes" --dist loadfile "$@"
