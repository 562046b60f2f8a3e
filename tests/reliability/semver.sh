#!/usr/bin/env bash
# The public API against an older commit: what would break users is named, and fails.
#
#     tests/reliability/semver.sh [COMMIT]      # default: the commit before this one; before a release, the last release
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v cargo-semver-checks >/dev/null || cargo install cargo-semver-checks --locked
cargo semver-checks --workspace --baseline-rev "${1:-HEAD~1}"
