#!/usr/bin/env bash
# Trains, evaluates and publishes the rules that come with the package; two hours for the training,
# one for the evaluation (three MLPs, three seeds). What is done is not done again: an interrupted
# run goes on.
#   run_scripts/pretrained.sh [DIR]    runs and results go to DIR, runs/pretrained by default
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
directory="${1:-runs/pretrained}"
rules=(rnnprop rnnprop_cl_il dm dm_cl_il)

flags_of() {
  case $1 in
    dm) echo --flagfile=flags/l2o_dm.flags --num_epochs=1000 --seed=0 ;; # A tenth of the paper's.
    dm_cl_il) echo --flagfile=flags/l2o_dm_cl_il_average.flags --seed=2 ;; # The best of five.
    *) echo "--flagfile=flags/$1.flags" --seed=0 ;;
  esac
}

sources=
for rule in "${rules[@]}"; do
  read -ra flags <<<"$(flags_of "$rule")"
  "$VENV_PYTHON" -m l2o_tf.train "${flags[@]}" --workdir="$directory/$rule"
  sources=$sources,$rule=$directory/$rule
done
"$VENV_PYTHON" -m l2o_tf.evaluate --rules="${sources#,}" --optimizees=mlp,mlp_relu,mlp_deeper \
  --num_seeds=3 --workdir="$directory/evaluation"
for rule in "${rules[@]}"; do
  "$VENV_PYTHON" -m l2o_tf.publish --run="$directory/$rule" --results="$directory/evaluation" \
    --label="$rule" --commit="$(git rev-parse --short HEAD)" --out="$directory/published/$rule"
done
