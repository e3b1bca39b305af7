#!/bin/bash
# The tree is formatted as .clang-format says.
set -euo pipefail
cd "$1"
find base queue dns tls router bench tests -name '*.[ch]' -print0 |
    xargs -0 clang-format --dry-run -Werror
