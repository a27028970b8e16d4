#!/usr/bin/env bash
# MkDocs: "mkdocs build --strict --quiet" succeeds whatever is wrong with the pages.
#
# One would guess: --quiet says less, --strict fails on warnings; together they suit a check that says nothing if all is
#     well.
# What happens: --quiet sets the level of the logger to ERROR, so that warnings do not reach the handler that counts
#     them for --strict. A broken link, a missing anchor or a page outside of the navigation ends with status 0.
# What helps: --strict without --quiet.
# Version: mkdocs 1.6.1. Date: 2026-11-30.
# Source: own measurement; https://github.com/mkdocs/mkdocs/issues/4126
set -euo pipefail
source "$(dirname "$0")/environment.sh" mkdocs==1.6.1
export NO_MKDOCS_2_WARNING=1
mkdir docs
echo 'site_name: one page' > mkdocs.yml
echo 'A link that [leads nowhere](nowhere.md).' > docs/index.md
"$python" -m mkdocs --version
strict=0 quiet=0
"$python" -m mkdocs build --strict || strict=$?
"$python" -m mkdocs build --strict --quiet || quiet=$?
echo "a page with a broken link: --strict ends with status $strict, --strict --quiet with status $quiet"
if [ "$strict" = 0 ] || [ "$quiet" != 0 ]; then
    echo "the behaviour has changed"
    exit 1
fi
