#!/usr/bin/env bash
# Figure 6: imitation learning and self-improving on top of L2O-Scale.
# These rules do not come with the package: train them first, with flags/l2o_scale.flags,
# flags/l2o_scale_si.flags and flags/l2o_scale_il.flags and a --workdir as named here.
set -euo pipefail
"$(dirname "$0")/figure.sh" 6 \
  scale=runs/l2o_scale,scale_si=runs/l2o_scale_si,scale_il=runs/l2o_scale_il \
  conv_mnist "$@"
