#!/usr/bin/env bash
# The NEON kernels on a machine that is not an Arm: every kernel against its oracle, and a training of the whole network
# that must give the oracle's losses and, with --network, the same bits at any number of threads, under emulation.
#
# Installs what is missing: QEMU's user-mode emulator and a cross linker (Debian's packages), the standard library for Arm
# (rustup, or else Debian). Fails where it cannot; nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/reliability/install.sh
target=aarch64-unknown-linux-gnu
need qemu-aarch64-static qemu-user-static
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
# Debian's compiler with its standard library for Arm, where rustup's server is out of reach.
debians_compiler() {
    local version unpacked package
    need /usr/bin/rustc rustc-web
    export RUSTC=/usr/bin/rustc
    version=$("$RUSTC" --version | sed 's/rustc \([0-9]*\.[0-9]*\).*/\1/')
    as_root dpkg --add-architecture arm64
    as_root apt-get update -q
    unpacked=$(mktemp -d)
    (cd "$unpacked" && apt-get download "libstd-rust-web-dev:arm64" "libstd-rust-web-$version:arm64")
    for package in "$unpacked"/*.deb; do dpkg -x "$package" "$unpacked"; done
    as_root cp -r "$unpacked/usr/lib/rustlib/$target" /usr/lib/rustlib/
    rm -r "$unpacked"
}
if ! rustup target add "$target"; then debians_compiler; fi

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
# Both must be found; the portable kernels are tested without emulation.
export MOUE_REQUIRE_ISA=neon,portable MOUE_ISA=neon
# Only the kernels are worth optimising here: the rest hardly runs.
test=(cargo test --target "$target" --config profile.dev.opt-level=0 --config profile.dev.package.moue.opt-level=0
    --config profile.dev.package.moue-kernels.opt-level=2)
"${test[@]}" -p moue-kernels --lib
# Both crates in one call, since features are resolved for what is named, and the kernels take longest to build. The
# network's shapes and the f64 oracle's training take longest under emulation: the first add no instruction to the
# remainder shapes, the second has no instruction of its own.
both=(-p moue-kernels -p moue --no-default-features)
"${test[@]}" "${both[@]}" --test parity --test isas -- --skip network_shapes --skip stored_losses
# Parity runs every kernel at several thread counts already; with --network the whole network, too.
if [ "${1:-}" = --network ]; then "${test[@]}" "${both[@]}" --test determinism; fi
