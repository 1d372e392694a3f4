#!/usr/bin/env bash
# Figure 7: against tuned analytical optimizers ([a], [b]) and on larger optimizees ([c], [d]).
# FLAGS are evaluate's. Tuning three rules on two optimizees (11 learning rates, 2 seeds) takes 132
# runs, once, beside the 100 runs of [a] and [b]: on two cores 10 minutes for MLP-orig and 9 hours
# for Conv-MNIST, each run of which takes 8. OPTIMIZEES=mlp figure7.sh draws [a] alone, in an hour;
# --num_steps=1000 takes a tenth, for a first look.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
evaluate_for_figure 7 dm,dm_cl_il,tuned:adam,tuned:rmsprop,tuned:sgd mlp,conv_mnist "$@"
evaluate_for_figure 7 dm,dm_cl_il nas_cifar,lenet "$@"
draw_figure 7
