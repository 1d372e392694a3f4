# Sourced by the other scripts: the virtual environment .venv of this checkout.

REPOSITORY="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV_PYTHON="$REPOSITORY/.venv/bin/python"
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"

# Prints the name of a Python that can run l2o_tf: $PYTHON if set, else the first that will do.
find_python() {
  local candidate
  local check='import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10 python; do
    if "$candidate" -c "$check" >/dev/null 2>&1; then
      echo "$candidate"
      return
    elif [[ -n "${PYTHON:-}" ]]; then
      echo "PYTHON=$PYTHON is not a Python 3.10 to 3.13 with the venv module; name another" >&2
      return 1
    fi
  done
  echo "no Python 3.10 to 3.13 with the venv module found: install one (on Debian or Ubuntu:" \
    "apt install python3 python3-venv) or name it: PYTHON=/path/to/python3 $0" >&2
  return 1
}

# Runs pip install in .venv and prints only errors: even with --quiet, each editable install shows
# a Python warning of setuptools.
pip_install() {
  PYTHONWARNINGS=ignore "$VENV_PYTHON" -m pip install --quiet --disable-pip-version-check "$@"
}

# Prints those names of a list with commas that $OPTIMIZEES has, or all where it is not set.
chosen_optimizees() {
  local name chosen=
  for name in ${1//,/ }; do
    if [[ -z ${OPTIMIZEES:-} || ,$OPTIMIZEES, == *,"$name",* ]]; then
      chosen=$chosen,$name
    fi
  done
  echo "${chosen#,}"
}

# Prints the folder that the user names, from where they are, for scripts that then change to the
# checkout, or a default below that: folder_argument NAMED DEFAULT
folder_argument() {
  case $1 in
    "") echo "$2" ;;
    /*) echo "$1" ;;
    *) echo "$PWD/$1" ;;
  esac
}

# Prints the rules in a folder as evaluate, and others, take them: NAME=FOLDER/NAME,...
rules_in() {
  local path listed=
  for path in "$1"/*; do
    listed=$listed,$(basename "$path")=$path
  done
  echo "${listed#,}"
}

# Evaluates for one figure of the paper: evaluate_for_figure N RULES OPTIMIZEES [FLAGS]
# The table is printed by draw_figure, once.
evaluate_for_figure() {
  local number=$1 rules=${RULES:-$2} optimizees
  optimizees=$(chosen_optimizees "$3")
  if [[ -z $optimizees ]]; then
    echo "OPTIMIZEES=$OPTIMIZEES leaves out these panels of figure $number: $3" >&2
    return
  fi
  shift 3
  "$VENV_PYTHON" -m l2o_tf.evaluate --rules="$rules" --optimizees="$optimizees" \
    --workdir="${WORKDIR:-runs/figure$number}" "$@" >/dev/null
}

# Draws one figure of the paper from its evaluation, as PNG and PDF, and prints the table.
draw_figure() {
  local number=$1 workdir=${WORKDIR:-runs/figure$1} published=()
  case $number in 2 | 3 | 5 | 6) published=(--published) ;; esac
  "$VENV_PYTHON" -m l2o_tf.plot --figure="$number" --results="$workdir" \
    --out="$workdir/figure$number.png,$workdir/figure$number.pdf" \
    ${published[@]+"${published[@]}"}
}

# Makes .venv and installs l2o_tf there with its test extra, unless that is done already.
#
# The install is editable, so that scripts and tests run the code of this checkout, and only a
# change of pyproject.toml, of which .venv/installed is a copy, makes another install necessary.
ensure_venv() {
  local installed="$REPOSITORY/.venv/installed" python
  if [[ -x "$VENV_PYTHON" ]] && cmp -s "$REPOSITORY/pyproject.toml" "$installed"; then
    return
  fi
  if ! "$VENV_PYTHON" -m pip --version >/dev/null 2>&1; then
    python="$(find_python)" || exit 2
    "$python" -m venv --clear "$REPOSITORY/.venv"
  fi
  echo "Installing l2o_tf into $REPOSITORY/.venv; the first time takes a few minutes." >&2
  # Old versions of pip can search for many minutes for versions that fit together.
  pip_install --upgrade pip
  pip_install --editable "${REPOSITORY}[test]"
  cp "$REPOSITORY/pyproject.toml" "$installed"
}
