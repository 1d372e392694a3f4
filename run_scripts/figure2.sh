#!/usr/bin/env bash
# Figure 2: the enhanced L2O-DM and previous learned optimizers on five optimizees.
# L2O-Scale and L2O-Scale-Meta do not come with the package: train them with their flagfiles and
# RULES=dm,dm_cl_il,rnnprop,scale=runs/l2o_scale,scale_meta=runs/l2o_scale_meta
set -euo pipefail
"$(dirname "$0")/figure.sh" 2 dm,dm_cl_il,rnnprop \
  mlp,mlp_relu,mlp_deeper,conv_mnist,conv_cifar "$@"
