#!/usr/bin/env python3
"""One command that compares moue with its peers: training step, inference, standard against separable convolution.

    python3 benches/peers/run.py [--table step infer layers] [--threads 1 2] [--batch 32] [--rounds 3] [--markdown]

Sets up a virtual environment with the Python peers (about 4 GB, under target/) unless --python names one that has
them, builds moue and the Rust peers in release, and lets all take turns: figures are only comparable when they are
taken on the same machine within the same minutes. Prints medians and ranges of the rounds.
"""

import argparse
import datetime
import os
import statistics
import sys

import peers
import report
from peers import Setup
from shapes import LAYERS


def measure(table, setup, threads, batch, rounds):
    """Peer -> results of its rounds. Peers take turns; one that fails is left out, with a line that says so."""
    rows = peers.TABLES[table](setup, threads, batch)
    results = {peer.name: [] for peer in rows}
    for _ in range(rounds):
        for peer in [peer for peer in rows if peer.name in results]:
            try:
                results[peer.name].append(peer.measure())
            except peers.Failed as error:
                print(f"skipped: {peer.name}: {error}", file=sys.stderr)
                del results[peer.name]
                continue
            print(f"{table}, {threads} threads, batch {batch}: {peer.name} done", file=sys.stderr)
    return results


def span(values, digits):
    """median (least - most), of one value itself"""
    low, middle, high = (f"{f(values):.{digits}f}" for f in (min, statistics.median, max))
    return f"{middle} ({low} - {high})" if len(values) > 1 else middle


def against_moue(values, ours, faster):
    """How many times faster moue is, by medians."""
    if not ours:
        return ""
    quotient = statistics.median(values) / statistics.median(ours)
    return f"{1 / quotient if faster == 'high' else quotient:.2f}x"


def step_tables(setup, args):
    """Images a second of a whole training step."""
    for threads in args.threads:
        results = measure("step", setup, threads, args.batch, args.rounds)
        rates = {name: [r["images_per_second"] for r in kept] for name, kept in results.items()}
        ours = rates.get(peers.MOUE)
        rows = [[name, span(kept, 1), against_moue(kept, ours, "high")] for name, kept in rates.items()]
        title = f"Training step, batch {args.batch}, {threads} threads: images/s, {rounds_of(args)}"
        yield title, ["", "images/s", "moue is"], rows


def infer_tables(setup, args):
    """Microseconds an image of inference, at batch 1 and at --batch."""
    for batch in sorted({1, args.batch}):
        for threads in args.threads:
            results = measure("infer", setup, threads, batch, args.rounds)
            times = {name: [r["us_per_image"] for r in kept] for name, kept in results.items()}
            ours = times.get(peers.MOUE)
            rows = [[name, span(kept, 0), against_moue(kept, ours, "low")] for name, kept in times.items()]
            title = f"Inference, batch {batch}, {threads} threads: microseconds an image, {rounds_of(args)}"
            yield title, ["", "us/image", "moue is"], rows


def layer_tables(setup, args):
    """Ratio of the times of standard and separable convolution, and the speed of both, forward."""
    quantities = {
        "standard over separable, ratio of times (theory)": ("ratio", 2),
        "standard 3x3, GFLOP/s": ("std_gflops", 0),
        "depthwise + pointwise, GFLOP/s": ("ds_gflops", 0),
        "depthwise + pointwise, ms": ("ds_ms", 2),
    }
    for threads in args.threads:
        results = measure("layers", setup, threads, args.batch, args.rounds)
        passes = {name: [forward_rows(r) for r in kept] for name, kept in results.items()}
        for quantity, (key, digits) in quantities.items():
            title = f"Layers, batch {args.batch}, {threads} threads: {quantity}, {rounds_of(args)}"
            yield title, ["layer", *passes], layer_rows(passes, key, digits)
        cells = [span([of_theory(forward) for forward in kept], 3) for kept in passes.values()]
        title = f"Layers, batch {args.batch}, {threads} threads: ratio over 9N / (9 + N), {rounds_of(args)}"
        yield title, ["", *passes], [["geometric mean", *cells]]


def forward_rows(result):
    """A result's layers; moue's has backward passes too."""
    return [row for row in result["rows"] if row.get("pass", "forward") == "forward"]


def layer_rows(passes, key, digits):
    rows = []
    for i, (cin, cout, hw) in enumerate(LAYERS):
        cells = [span([forward[i][key] for forward in kept], digits) for kept in passes.values()]
        name = f"{cin}->{cout} @ {hw}" + (f" ({theory(cout):.2f})" if key == "ratio" else "")
        rows.append([name, *cells])
    return rows


def theory(cout):
    """Multiply-adds of the standard convolution over those of the separable one."""
    return 9 * cout / (9 + cout)


def of_theory(rows):
    return statistics.geometric_mean(row["ratio"] / theory(row["cout"]) for row in rows)


def rounds_of(args):
    return f"median (range) of {args.rounds} rounds" if args.rounds > 1 else "one round"


def main():
    tables = {"step": step_tables, "infer": infer_tables, "layers": layer_tables}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", nargs="+", choices=[*tables, "all"], default=["all"])
    parser.add_argument("--peers", nargs="+", choices=peers.PEERS, default=peers.PEERS, help="all unless named")
    parser.add_argument("--python", help="a Python that has the packages of requirements.txt")
    parser.add_argument("--moue", help="a moue binary, to build none")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count()}))
    parser.add_argument("--batch", type=int, default=32, help="of steps, layers and inference, which also runs at 1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()

    chosen = list(tables) if "all" in args.table else args.table
    setup = Setup(args, chosen)
    for reason in setup.skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    print(f"{report.machine()}; {datetime.date.today()}\n{', '.join(setup.versions)}")
    show = report.markdown if args.markdown else report.text
    for name in chosen:
        for title, header, rows in tables[name](setup, args):
            print(f"\n{show(title, header, rows)}", flush=True)


if __name__ == "__main__":
    main()
