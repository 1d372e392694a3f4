#!/usr/bin/env bash
# Figure 5: variants of L2O-DM.
# L2O-DM-AUG, -CL and -IL do not come with the package: train them with their flagfiles and
# RULES=dm,dm_aug=runs/l2o_dm_aug,dm_cl=runs/l2o_dm_cl,dm_il=runs/l2o_dm_il
set -euo pipefail
"$(dirname "$0")/figure.sh" 5 dm \
  mlp,mlp_relu,mlp_deeper,conv_mnist,conv_cifar "$@"
