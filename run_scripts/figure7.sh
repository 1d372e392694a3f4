#!/usr/bin/env bash
# Figure 7: against tuned analytical optimizers ([a], [b]) and on larger optimizees ([c], [d]).
set -euo pipefail
"$(dirname "$0")/figure.sh" 7 \
  dm,dm_cl_il,tuned:adam,tuned:rmsprop,tuned:sgd \
  mlp,conv_mnist "$@"
"$(dirname "$0")/figure.sh" 7 \
  dm,dm_cl_il \
  nas_cifar,lenet "$@"
