#!/usr/bin/env bash
# Figure 3: learned optimizers with and without curriculum and imitation learning.
set -euo pipefail
"$(dirname "$0")/figure.sh" 3 rnnprop,rnnprop_cl_il,scale,scale_cl_il \
  mlp,mlp_relu,mlp_deeper,conv_mnist,conv_cifar "$@"
