#!/usr/bin/env bash
# The tests of instruction sets on an emulated CPU without AVX2: detection must not find it, the portable kernels must do
# the work.
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/reliability/install.sh
need qemu-x86_64-static qemu-user-static
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64-static -cpu Nehalem"
export MOUE_REQUIRE_ISA=portable
# Of the workspace, not of the two crates alone: with the features of `cargo test --workspace` nothing is built again.
cargo test --workspace --test parity --test isas -- --skip network_shapes --skip stored_losses
