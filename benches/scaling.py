#!/usr/bin/env python3
"""What training on several processes costs, measured here, and projected to many machines by a model.

    python3 benches/scaling.py measure [--ranks 1 2 4] [--steps 40] [--batch 32] [--rounds 2] [--moue PATH]
    python3 benches/scaling.py model [--image-ms 2.5] [--per-rank 8 32]

`measure` runs `mpirun -n R moue train` on synthetic faces with one thread a process, ordered and fast sums and local
batch norms taking turns, and prints medians: images/s, bytes that a process sends in a step, time spent on
exchanges. On fewer cores than processes the times say little about scaling; bytes do not depend on the machine.

`model` is a simulation, not a measurement: alpha + bytes / bandwidth for every message (Hockney 1994), computing at
the measured speed of one thread, no contention, no stragglers.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile

# DNN-CBAM: gradients that are summed in buckets, and the exchanges that a step waits for.
GRADIENT_BYTES = 1_945_000
NORMS = 15
NORM_BYTES = 2 * 4 * 109  # two numbers of four bytes for 109 channels in the mean
SMALL = 12  # loss, correct answers, stop, AM-Softmax's weights, four parameters of the attention's MLP twice
BACKWARD_SHARE = 0.66  # of a step, during which gradients can travel

ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
}
WAYS = {
    "ordered": [],
    "fast": ["--reduce", "fast"],
    "ordered, local norms": ["--batch-norm", "local"],
}


def train(moue, ranks, steps, batch, options):
    """The JSON report of a run of one epoch of about `steps` steps."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        command += [moue, "train", "--json", "--quiet", "--threads", "1", "--epochs", "1", "--batch", str(batch)]
        command += ["--limit", str(steps * batch), "--out", os.path.join(folder, "run"), *options]
        environment = {**os.environ, **ENVIRONMENT, "MOUE_CACHE": os.path.join(folder, "cache")}
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{' '.join(command)}: {result.stderr.strip()}")
        return json.loads(result.stdout)


def measure(args):
    cases = [(ranks, way) for ranks in args.ranks for way in WAYS if ranks > 1 or way == "ordered"]
    reports = {case: [] for case in cases}
    for _ in range(args.rounds):
        for ranks, way in cases:
            reports[ranks, way].append(train(args.moue, ranks, args.steps, args.batch, WAYS[way]))
    print(f"batch {args.batch}, one thread a process, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| processes | sums | images/s | MB sent a step | statistics, ms | gradients, ms | of them hidden |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (ranks, way), kept in reports.items():
        middle = lambda get: statistics.median(get(report) for report in kept)
        speed = middle(lambda report: report["images_per_second"])
        if ranks == 1:
            print(f"| 1 | | {speed:.0f} | | | | |")
            continue
        cost = lambda key: middle(lambda report: report["communication"][key])
        hidden = 1 - cost("gradients_left_ms") / cost("gradients_ms")
        print(
            f"| {ranks} | {way} | {speed:.0f} | {cost('bytes_per_step') / 1e6:.2f} | {cost('statistics_ms'):.1f} "
            f"| {cost('gradients_ms'):.1f} | {100 * hidden:.0f} % |"
        )


def exchange_ms(ranks, size, alpha, bandwidth):
    """Recursive doubling of a short message: log2 R messages one after the other."""
    return math.log2(ranks) * (alpha + size / bandwidth)


def ring_ms(ranks, size, alpha, bandwidth):
    """2 (R - 1) messages of an R-th."""
    return 2 * (ranks - 1) * (alpha + size / ranks / bandwidth)


def tree_ms(ranks, size, alpha, bandwidth):
    """Halving and doubling, what moue does: the bytes of a ring in 2 log2 R messages."""
    return 2 * math.log2(ranks) * alpha + 2 * (ranks - 1) / ranks * size / bandwidth


def step_ms(ranks, per_rank, image_ms, reduce, alpha, bandwidth, local):
    """Computing, exchanges that it waits for, and what backward does not hide of the gradients."""
    compute = per_rank * image_ms
    norms = 0 if local else 2 * NORMS
    waited = (norms + SMALL) * exchange_ms(ranks, NORM_BYTES, alpha, bandwidth)
    buckets = GRADIENT_BYTES // (256 * 1024) + 1
    gradients = buckets * reduce(ranks, GRADIENT_BYTES / buckets, alpha, bandwidth)
    last = gradients / buckets  # the first layers' bucket is complete when backward ends
    left = max(last, gradients - BACKWARD_SHARE * compute)
    return compute + waited + left


def efficiency(ranks, per_rank, *rest):
    return per_rank * rest[0] / step_ms(ranks, per_rank, *rest)


def model(args):
    networks = [("10 Gbit/s, 30 us", 0.030, 10e9 / 8 / 1e3), ("100 Gbit/s, 5 us", 0.005, 100e9 / 8 / 1e3)]
    ranks = [2**k for k in range(1, 11)]
    print(f"Simulated: {args.image_ms} ms an image and process; efficiency = computing / step, in percent.\n")
    for name, alpha, bandwidth in networks:
        print(f"\n**{name}**\n")
        print("| images a process | sums | " + " | ".join(map(str, ranks)) + " |")
        print("| --- | --- |" + " --- |" * len(ranks))
        for per_rank in args.per_rank:
            for way, reduce, local in [
                ("tree", tree_ms, False),
                ("ring", ring_ms, False),
                ("tree, local norms", tree_ms, True),
            ]:
                cells = [
                    f"{100 * efficiency(r, per_rank, args.image_ms, reduce, alpha, bandwidth, local):.0f}"
                    for r in ranks
                ]
                print(f"| {per_rank} | {way} | " + " | ".join(cells) + " |")
    print("\nSmallest batch for 80 % efficiency, and for R processes to be faster than R / 2 on it:\n")
    print("| network | | "+ " | ".join(map(str, ranks)) + " |")
    print("| --- | --- |" + " --- |" * len(ranks))
    for name, alpha, bandwidth in networks:
        rest = (args.image_ms, tree_ms, alpha, bandwidth, False)
        eighty = [fewest(lambda n: efficiency(r, n, *rest) >= 0.8) for r in ranks]
        pays = [fewest(lambda n: step_ms(r, n, *rest) < half_as_many(r, n, rest)) for r in ranks]
        for what, images in [("80 %", eighty), ("pays", pays)]:
            cells = [f"{r * n:,}" if n else "-" for r, n in zip(ranks, images)]
            print(f"| {name} | {what} | " + " | ".join(cells) + " |")


def half_as_many(ranks, per_rank, rest):
    if ranks == 2:
        return 2 * per_rank * rest[0]
    return step_ms(ranks // 2, 2 * per_rank, *rest)


def fewest(fits):
    return next((n for n in range(1, 100_000) if fits(n)), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    measuring.add_argument("--steps", type=int, default=40)
    measuring.add_argument("--batch", type=int, default=32)
    measuring.add_argument("--rounds", type=int, default=2)
    measuring.add_argument("--moue", default="target/release/moue", help="built with --features mpi")
    measuring.set_defaults(run=measure)
    modelling = commands.add_parser("model")
    modelling.add_argument("--image-ms", type=float, default=2.5, help="of one process: 1 / (images a second)")
    modelling.add_argument("--per-rank", type=int, nargs="+", default=[8, 32])
    modelling.set_defaults(run=model)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
