#!/usr/bin/env bash
# Measures what candidates and shipped rules make of gradients that stay the same, in two minutes:
# data/results/ablations/response.csv. Arguments are more rules, such as the authors':
#   run_scripts/ablations.sh authors_dm_cl_il=PATH/cw.l2l-0,authors_rnnprop=PATH/rp.l2l-0
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
cd "$REPOSITORY"
candidates=data/results/candidates
"$VENV_PYTHON" -m l2o_tf.response --num_steps=300 \
  --rules="${1:+$1,}rnnprop,rnnprop_cl_il,dm,dm_il,dm_aug,dm_cl,dm_cl_il,adam:0.01" \
  --snapshots="$candidates/dm_cl_il,$candidates/dm_cl,$candidates/rnnprop,$candidates/rnnprop_cl_il" \
  --out=data/results/ablations/response.csv
