#!/usr/bin/env bash
# Builds the documentation site into a folder that any web server, or a browser, shows; a broken link
# or an undocumented name of the reference is an error.
#   run_scripts/docs.sh [DIR]                  the site goes to DIR, site by default
#   EXECUTE_NOTEBOOKS=true run_scripts/docs.sh [DIR]    with what the notebooks print and draw, in minutes
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ensure_venv
site=$(folder_argument "${1:-}" site)
cd "$REPOSITORY"
"$VENV_PYTHON" -c 'import mkdocs, mkdocs_jupyter, mkdocstrings' 2>/dev/null ||
  pip_install --editable "${REPOSITORY}[docs]"
export NO_MKDOCS_2_WARNING=1  # What comes after MkDocs 1 concerns nobody who builds this site.
# Not by --quiet, with which MkDocs does not count the warnings that --strict forbids.
log="$("$VENV_PYTHON" -m mkdocs build --strict --clean --site-dir "$site" 2>&1)" || {
  echo "$log" >&2
  exit 1
}
echo "The site is in $site: open $site/index.html, or serve the folder"
