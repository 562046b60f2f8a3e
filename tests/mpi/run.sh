#!/bin/bash
# Trains on processes that mpirun starts: the same bits as one process at 1x2, 2x1, 2x2 and 4x1 processes and threads;
# a process that is killed ends all, and the run goes on with another number of them; wrong usage is told.
#
#   tests/mpi/run.sh    builds target/debug/moue with the feature mpi, or takes MOUE=binary; installs Open MPI from
#                       Debian if mpirun is missing (as root)
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v mpirun >/dev/null || ! ls /usr/lib/*/libclang*.so* /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends openmpi-bin libopenmpi-dev libclang-dev >/dev/null
fi
# Open MPI refuses root and more processes than cores unless told.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none

[ -n "${MOUE:-}" ] || cargo build --quiet --features mpi
moue=${MOUE:-$PWD/target/debug/moue}
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
export MOUE_CACHE=$runs/cache

fail() { echo "tests/mpi/run.sh: $*" >&2; exit 1; }
# Training on 76 faces: two batches of 32 and one of 12, which two processes share and four do not.
recipe=(--quiet --limit 76)
train() { # NAME PROCESSES THREADS OPTION...
    mpirun -n "$2" "$moue" train --threads "$3" --out "$runs/$1" --epochs 2 "${recipe[@]}" "${@:4}"
}
same() {
    for file in last best; do
        cmp -s "$runs/one/$file.safetensors" "$runs/$1/$file.safetensors" || fail "$1: $file has other bits than one process"
    done
    [ "$(wc -l <"$runs/$1/metrics.jsonl")" = 2 ] || fail "$1: metrics.jsonl"
}
# Starts a run on two processes that writes a checkpoint after every step; waits for the first. $job is mpirun itself, so
# that its children are the processes.
background() { # NAME OPTION...
    mpirun -n 2 "$moue" train --threads 1 --out "$runs/$1" --checkpoint-every 0 "${recipe[@]}" "${@:2}" >"$runs/$1.out" 2>&1 &
    job=$!
    for _ in $(seq 600); do
        [ -s "$runs/$1/checkpoint.bin" ] && return
        sleep 0.05
    done
    fail "$1: no checkpoint: $(cat "$runs/$1.out")"
}
stopped() { # NAME
    ! wait $job || fail "$1: a run that was stopped succeeded"
    grep -q "^stopped: stopped after step" "$runs/$1/log.txt" || fail "$1: not stopped: $(cat "$runs/$1.out" "$runs/$1/log.txt")"
}
# Expects a command to fail with a status and a line.
refused() { # STATUS LINE COMMAND...
    local status=0
    "${@:3}" >"$runs/out" 2>&1 || status=$?
    [ "$status" = "$1" ] && grep -q "^moue: .*$2" "$runs/out" || fail "status $status, not $1 with '$2': $(cat "$runs/out")"
}

"$moue" train --threads 1 --out "$runs/one" --epochs 2 "${recipe[@]}" >/dev/null
for shape in "1 2" "2 1" "2 2" "4 1"; do
    name=${shape/ /x}
    # shellcheck disable=SC2086 # two words
    train "$name" $shape >/dev/null
    same "$name"
    echo "$name: the bits of one process"
done

background killed --epochs 2
begin=$SECONDS
kill -KILL "$(pgrep -P $job | tail -1)"
! wait $job || fail "a run that lost a process succeeded"
[ $((SECONDS - begin)) -le 10 ] || fail "$((SECONDS - begin)) s to end without one process"
grep -q "^moue: rank 0: another process has ended" "$runs/killed.out" || fail "not told: $(cat "$runs/killed.out")"
mpirun -n 4 "$moue" train --quiet --threads 1 --resume "$runs/killed" >/dev/null
same killed
echo "killed, resumed on four: the bits of one process"

background stopped --epochs 2
kill -TERM "$(pgrep -P $job | tail -1)"
stopped stopped
# Not asked of an mpirun that is itself stopped: it loses the last lines, on a busy machine one time in six.
grep -q "^moue: stopped after step" "$runs/stopped.out" || fail "not told: $(cat "$runs/stopped.out")"
"$moue" train --quiet --threads 1 --resume "$runs/stopped" >/dev/null
same stopped
echo "one process told to stop, resumed on one: the bits of one process"

# mpirun waits so long before it passes SIGTERM on, and again before it kills.
export OMPI_MCA_odls_base_sigkill_timeout=3
background all --epochs 1000
kill -TERM $job
stopped all
echo "mpirun told to stop: a checkpoint"

train fast 2 1 --reduce fast --batch-norm local >/dev/null
refused 2 "mpirun started 2" mpirun -n 2 "$moue" gradcheck --op relu
refused 2 "power of two" mpirun -n 3 "$moue" train --out "$runs/none"
refused 2 "at most 1 can" mpirun -n 2 "$moue" train --limit 8 --out "$runs/none"
refused 1 "disagree" mpirun -n 1 "$moue" train --limit 32 --seed 1 --out "$runs/none" : -n 1 "$moue" train --limit 32 --seed 2
echo "wrong usage is refused"
