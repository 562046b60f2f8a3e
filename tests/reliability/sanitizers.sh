#!/usr/bin/env bash
# Kernels and engine under AddressSanitizer and ThreadSanitizer: every kernel on every instruction set with remainder
# shapes, whole training steps at several thread counts, the engine's unit tests.
#
#     tests/reliability/sanitizers.sh [address|thread]...
#
# The standard library is built with the sanitizer, too (rustup's component rust-src): without that, ThreadSanitizer does
# not see the synchronisation inside std. RUSTC_BOOTSTRAP lets the stable compiler take both options.
set -euo pipefail
cd "$(dirname "$0")/../.."

rustup component add rust-src
target=x86_64-unknown-linux-gnu
export RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0
export MOUE_REQUIRE_ISA=avx2,portable
export ASAN_OPTIONS=detect_stack_use_after_return=1
export TSAN_OPTIONS=halt_on_error=1

[ $# -gt 0 ] || set -- address thread
for sanitizer in "$@"; do
    echo "== $sanitizer"
    export RUSTFLAGS="-Zsanitizer=$sanitizer" CARGO_TARGET_DIR="target/$sanitizer"
    test=(cargo test -Zbuild-std --target "$target")
    "${test[@]}" -p moue-kernels --lib --test parity -- --skip network_shapes
    "${test[@]}" -p moue --lib --test determinism
done
