#!/usr/bin/env bash
# A disk that fills up and a folder that becomes read-only while a training saves: the training ends with one line, what
# was saved stays as it was, and once there is room it goes on to the same bits as a training that was left alone.
#
#     cargo build --release
#     tests/reliability/disk.sh
#
# The disk is a small tmpfs in a mount namespace of its own, so that neither root nor any cleaning up is needed.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
    exec unshare --user --map-root-user --mount "$0" --inside
fi
moue="$(cd "$(dirname "$0")/../.." && pwd)/target/release/moue"
export MOUE_CACHE=
disk=$(mktemp -d)
mount -t tmpfs -o size=26m tmpfs "$disk"
run="$disk/run"
log="$disk/../$(basename "$disk").log"
trap 'rm -f "$log"' EXIT

train() { "$moue" train --quiet --limit 200 --seed 3 --checkpoint-every 0 "$@" >/dev/null 2>"$log"; }
fail() { echo "FAILED: $*" >&2; cat "$log" >&2; exit 1; }
sums() { (cd "$run" && sha256sum ./*.safetensors checkpoint*.bin metrics.jsonl); }
# The training must end with status 1 and one line that names the file, and leave every file alone.
refused() {
    local before status=0
    before=$(sums)
    "$moue" train --quiet --resume "$run" --epochs 4 --checkpoint-every 0 >/dev/null 2>"$log" || status=$?
    [ "$status" = 1 ] || fail "$1: status $status"
    [ "$(wc -l <"$log")" = 1 ] && grep -q "$run" "$log" && grep -qi "$2" "$log" || fail "$1: what was said"
    [ "$(sums)" = "$before" ] || fail "$1: a saved file changed"
    ! compgen -G "$run/.*.tmp" >/dev/null || fail "$1: a temporary file is left"
    echo "$1: $(cat "$log")"
}

train --out "$run" --epochs 2 || fail "the first two epochs"

dd if=/dev/zero of="$disk/filler" bs=64k 2>/dev/null || true
refused "full disk" "no space left"
rm "$disk/filler"

mount -o remount,ro "$disk"
refused "read-only folder" "read-only"
mount -o remount,rw "$disk"

"$moue" train --quiet --resume "$run" --epochs 4 >/dev/null 2>"$log" || fail "going on"
cp "$run/last.safetensors" "$log.last"
rm -r "$run"
train --out "$run" --epochs 4 || fail "the training that is left alone"
cmp "$run/last.safetensors" "$log.last" || fail "other weights"
rm "$log.last"
echo "went on to the same bits"
