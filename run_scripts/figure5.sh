#!/usr/bin/env bash
# Figure 5: variants of L2O-DM.
set -euo pipefail
"$(dirname "$0")/figure.sh" 5 dm,dm_aug,dm_cl,dm_il \
  mlp,mlp_relu,mlp_deeper,conv_mnist,conv_cifar "$@"
