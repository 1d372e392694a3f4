#!/usr/bin/env bash
# What the choice among snapshots is worth on test images: of trainings in data/results/candidates
# the last snapshot and the one that select ranks first on held-out images, 10,000 steps of MLP-orig;
# a quarter of an hour on two cores.
#   run_scripts/selection.sh [FLAGS]     FLAGS are those of evaluate, such as --data_dir=DIR
# WORKDIR is where all goes (runs/selection), spread.txt in it the table.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
workdir=$(folder_argument "${WORKDIR:-}" runs/selection)
cd "$REPOSITORY"
# The trainings, by system, that are ranked whole in its table.csv.
rules=$("$VENV_PYTHON" - "$workdir" <<'PYTHON'
import csv
import pathlib
import shutil
import sys

TRAININGS = {
    "dm_cl_il": ["d000", "d001", "d002", "d003", "d004", "d005"],
    "rnnprop_cl_il": ["r008", "r009", "r010", "r011"],
}
rules = []
for system, trainings in TRAININGS.items():
    folder = pathlib.Path("data/results/candidates") / system
    with open(folder / "table.csv", newline="") as file:
        ranked = [(row["run"], int(row["epoch"])) for row in csv.DictReader(file)]
    for seed, run in enumerate(trainings):
        last = int(max((folder / run / "snapshots").iterdir()).stem.removeprefix("epoch_"))
        first = next(epoch for name, epoch in ranked if name == run)
        for choice, epoch in (("last", last), ("selected", first)):
            copy = pathlib.Path(sys.argv[1]) / "rules" / f"{system}_{choice}_{seed}"
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / run / "rule.json", copy)
            shutil.copy(folder / run / "snapshots" / f"epoch_{epoch:06}.npz", copy / "rule.npz")
            rules.append(f"{copy.name}={copy}")
print(",".join(rules))
PYTHON
)
"$VENV_PYTHON" -m l2o_tf.evaluate --rules="$rules" --optimizees=mlp --num_seeds=1 \
  --workdir="$workdir/evaluation" "$@"
"$VENV_PYTHON" -m l2o_tf.benchmarks.spread --results="$workdir/evaluation" --out="$workdir/spread.txt"
