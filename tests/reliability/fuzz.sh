#!/usr/bin/env bash
# Fuzzes the readers, guided by coverage, and keeps the minimised inputs as the corpus of `cargo test --test fuzz`.
#
#     tests/reliability/fuzz.sh [TARGET|all] [SECONDS]      # default: all, 300 seconds each
#     RUNS=1000000 tests/reliability/fuzz.sh csv            # executions instead of seconds
#
# Needs rustup's nightly toolchain. A finding ends its target: the input is left in tests/fuzz/findings/TARGET, where the
# same test runs it. No sanitizer: the readers have no `unsafe` but one mapping, which fuzzing does without, and without
# one there are more executions; overflows and debug assertions are checked, and an allocation of more than 256 MiB ends
# the process.
set -euo pipefail
cd "$(dirname "$0")/../.."

targets=${1:-all}
[ "$targets" = all ] && targets="csv image tree cache weights checkpoint cli"
if [ -n "${RUNS:-}" ]; then limit="-runs=$RUNS"; else limit="-max_total_time=${2:-300}"; fi
# Most files and bytes of a target's corpus in the repository.
max_files=60 max_bytes=60000

command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
work=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)")
trap 'rm -rf "$work"' EXIT

fuzz() { cargo +nightly fuzz "$1" --fuzz-dir tests/fuzz -s none "${@:2}"; }

# The longest input and the dictionary of a target: short inputs run fastest, and forms with placeholders stay short.
options() {
    case $1 in
        csv) echo "-max_len=300 -dict=tests/fuzz/dictionaries/csv.txt" ;;
        tree) echo "-max_len=300 -dict=tests/fuzz/dictionaries/tree.txt" ;;
        cache) echo "-max_len=1024" ;;
        image) echo "-max_len=4096" ;;
        weights | checkpoint) echo "-max_len=2048 -dict=tests/fuzz/dictionaries/json.txt" ;;
        cli) echo "-max_len=300 -dict=tests/fuzz/dictionaries/cli.txt" ;;
        *) echo "no target $1" >&2 && exit 2 ;;
    esac
}

# Beside the inputs with names, which were written by hand, as many of the others as there is room for, by number: evenly
# from the shortest to the longest.
keep() {
    local from=$1 to=$2 bytes size name number=0
    rm -f "$to"/[0-9][0-9]
    bytes=$(cat "$to"/* 2>/dev/null | wc -c)
    while read -r size name; do
        bytes=$((bytes + size)) number=$((number + 1))
        [ $bytes -le $max_bytes ] || break
        cp "$from/$name" "$to/$(printf %02d $number)"
    done < <(find "$from" -type f -printf '%s %f\n' | sort -n |
        awk -v room=$((max_files - $(find "$to" -type f | wc -l))) \
            '{ line[NR] = $0 } END { n = NR < room ? NR : room; for (i = 1; i <= n; i++) print line[int(i * NR / n)] }')
}

for target in $targets; do
    corpus=tests/fuzz/corpus/$target findings=tests/fuzz/findings/$target
    grown=$work/$target
    mkdir -p "$grown" "$corpus" "$findings"
    cp "$corpus"/* "$grown" 2>/dev/null || true
    # shellcheck disable=SC2046
    fuzz run "$target" "$grown" -- $(options "$target") "$limit" -print_final_stats=1 -artifact_prefix="$findings/" \
        2>"$work/log" || { tail -n 40 "$work/log" >&2; exit 1; }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
    coverage=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$work/log" | tail -n 1)
    # Fewer than `cargo fuzz cmin` leaves: the shortest for each feature still, but only what covers all of them.
    mkdir "$grown.min"
    fuzz run "$target" "$grown.min" "$grown" -- -set_cover_merge=1 2>/dev/null
    echo "$target: $executions executions, $coverage, $(find "$grown.min" -type f | wc -l) minimised inputs"
    keep "$grown.min" "$corpus"
    rmdir --ignore-fail-on-non-empty "$findings"
done
