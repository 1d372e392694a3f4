#!/usr/bin/env bash
# Evaluates rules on optimizees and draws one figure of the paper: figure.sh N RULES OPTIMIZEES [FLAGS]
# Results go to $WORKDIR (runs/figureN by default); an interrupted evaluation goes on where it was.
# $RULES replaces the rules, such as RULES=dm=runs/my_dm,rnnprop; series without results are named.
# $OPTIMIZEES leaves some panels, such as OPTIMIZEES=mlp,mlp_relu.
# FLAGS are evaluate's and come last, so they win: --num_seeds=2 --num_steps=1000 for a first look.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
evaluate_for_figure "$@"
draw_figure "$1"
