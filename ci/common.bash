# shellcheck shell=bash
# What the checks share; sourced by each. A check is one script, needs no arguments and can be run from anywhere.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck disable=SC2034 # for the checks
TARGET_DIR=${CARGO_TARGET_DIR:-target}

# need COMMAND PACKAGE: the Debian package that brings a command, when it is missing.
need() {
    command -v "$1" >/dev/null || die "$1 is missing; on Debian: apt-get install $2 (or ci/packages for everything)"
}

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# passed WHAT: one check made by a script itself, in the words of a test runner.
passed() {
    echo "ok: $*"
    PASSED=$((${PASSED:-0} + 1))
}

# The closing line of a script that counts its own checks.
closing_line() {
    echo "${0##*/}: ${PASSED:-0} passed, 0 failed"
}
