#!/usr/bin/env bash
# Figure 6: imitation learning and self-improving on top of L2O-Scale.
set -euo pipefail
"$(dirname "$0")/figure.sh" 6 scale,scale_si,scale_il conv_mnist "$@"
