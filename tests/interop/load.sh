#!/usr/bin/env bash
# Asks `moue serve` for a minute as fast as eight clients can, and fails if an answer is wrong, late or missing.
#
#     cargo build --release; apt-get install wrk curl
#     tests/interop/load.sh WEIGHTS IMAGE [SECONDS [CLIENTS]]
set -euo pipefail
cd "$(dirname "$0")/../.."
moue=${MOUE:-target/release/moue}
weights=$1 image=$(realpath "$2") seconds=${3:-60} clients=${4:-8}

folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -r "$folder"' EXIT
"$moue" serve --weights "$weights" --port 0 --json --quiet > "$folder/address" &
server=$!
for _ in $(seq 100); do [ -s "$folder/address" ] && break; sleep 0.1; done
address=$(sed 's/.*"address":"\([^"]*\)".*/\1/' "$folder/address")

cat > "$folder/post.lua" <<LUA
wrk.method = "POST"
wrk.body = io.open("$image", "rb"):read("*a")
LUA
memory() { awk '/VmHWM/ { print $2 }' "/proc/$server/status"; }
curl -sf --data-binary @"$image" "${address}predict" > "$folder/before"
first=$(memory)
wrk -t 1 -c "$clients" -d "$seconds" --timeout 30 --latency -s "$folder/post.lua" "${address}predict" | tee "$folder/wrk"
curl -sf --data-binary @"$image" "${address}predict" > "$folder/after"
curl -sf "${address}metrics" | grep moue_answers_total
echo "memory: $first KB after the first image, $(memory) KB at most"
cmp "$folder/before" "$folder/after"
if grep -E 'Socket errors|Non-2xx' "$folder/wrk"; then exit 1; fi
kill -TERM "$server"
wait "$server"
echo "no errors, and it ended with status 0"
