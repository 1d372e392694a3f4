#!/usr/bin/env bash
# Figure 2: the enhanced L2O-DM and previous learned optimizers on five optimizees.
set -euo pipefail
"$(dirname "$0")/figure.sh" 2 dm,dm_cl_il,rnnprop,scale,scale_meta \
  mlp,mlp_relu,mlp_deeper,conv_mnist,conv_cifar "$@"
