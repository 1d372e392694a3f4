#!/usr/bin/env bash
# Evaluates rules on optimizees and draws one figure of the paper: figure.sh N RULES OPTIMIZEES [FLAGS]
# Results go to $WORKDIR (runs/figureN by default); an interrupted evaluation goes on where it was.
# $RULES replaces the rules, such as RULES=dm=runs/my_dm,rnnprop; series without results are named.
# FLAGS are evaluate's and come last, so they win: --num_seeds=2 --num_steps=1000 for a first look.
set -euo pipefail
number=$1 rules=${RULES:-$2} optimizees=$3
shift 3
workdir=${WORKDIR:-runs/figure$number}
published=()
case $number in 2 | 3 | 5 | 6) published=(--published) ;; esac

python -m l2o_tf.evaluate --rules="$rules" --optimizees="$optimizees" --workdir="$workdir" "$@"
python -m l2o_tf.plot --figure="$number" --results="$workdir" --out="$workdir/figure$number.png" \
  ${published[@]+"${published[@]}"}
