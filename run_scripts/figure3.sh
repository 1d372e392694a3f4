#!/usr/bin/env bash
# Figure 3: learned optimizers with and without curriculum and imitation learning.
# L2O-Scale does not come with the package: train it with its flagfiles and
# RULES=rnnprop,rnnprop_cl_il,scale=runs/l2o_scale,scale_cl_il=runs/l2o_scale_cl_il
set -euo pipefail
"$(dirname "$0")/figure.sh" 3 rnnprop,rnnprop_cl_il \
  mlp,mlp_relu,mlp_deeper,conv_mnist,conv_cifar "$@"
