#!/usr/bin/env python3
"""One command that compares training steps: PyTorch as installed, PyTorch tuned, and moue.

    python3 benches/peers/run.py [--threads N] [--batch 32] [--rounds 3]

Sets up a virtual environment with PyTorch (about 3 GB, under target/) unless --python names one that has it, builds
moue in release, and lets the peers take turns: figures are only comparable when all are taken on the same machine
within the same minutes. Prints the median of the rounds and the ratio to moue.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# As installed, 10 to 40 % of PyTorch's time goes to mapping fresh activations in every step. This keeps the memory.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "MALLOC_ARENA_MAX": "1",
}


def environment(python):
    """A Python with PyTorch."""
    if python:
        return python
    folder = ROOT / "target" / "peers-venv"
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"setting up {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    return python


def build():
    """The moue binary, built in release."""
    command = ["cargo", "build", "--release", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = map(json.loads, built.splitlines())
    return [m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "moue"][-1]


def measure(command, extra):
    out = subprocess.run(command, env=os.environ | extra, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)["images_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="a Python that has torch, numpy and safetensors")
    parser.add_argument("--moue", help="a moue binary, to build none")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    python, moue = environment(args.python), args.moue or build()
    size = ["--batch", str(args.batch), "--threads", str(args.threads)]
    step = [python, HERE / "step.py", *size]
    peers = {
        "PyTorch channels_last, as installed": (step, {}),
        "PyTorch channels_last, tuned": ([*step, "--adam", "fused"], KEEP_MEMORY),
        "moue": ([moue, "profile", "step", "--json", *size], {}),
    }
    rates = {name: [] for name in peers}
    for _ in range(args.rounds):
        for name, (command, extra) in peers.items():
            rates[name].append(measure(command, extra))
            print(f"{name}: {rates[name][-1]:.1f} images/s", file=sys.stderr)

    medians = {name: statistics.median(kept) for name, kept in rates.items()}
    print(f"training step, batch {args.batch}, {args.threads} threads, median of {args.rounds} rounds")
    print(f"{'':<38} {'images/s':>9} {'range':>17} {'moue is':>9}")
    for name, median in medians.items():
        spread = f"{min(rates[name]):.1f} - {max(rates[name]):.1f}"
        print(f"{name:<38} {median:9.1f} {spread:>17} {medians['moue'] / median:8.2f}x")


if __name__ == "__main__":
    main()
