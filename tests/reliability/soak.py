#!/usr/bin/env python3
"""Trains for hours and tells whether memory stays flat and speed steady.

    cargo build --release
    tests/reliability/soak.py --hours 1 -- --data FER2013 --epochs 120 --out runs/soak
    tests/reliability/soak.py --hours 1 -- --resume runs/soak

Everything behind `--` is for `moue train`. The training is stopped by SIGINT when the time is over, as by Ctrl-C, and
can be continued. Fails if the process holds over 2 % more memory in its last quarter than in its second one (the
first holds the start), or if the slowest epoch is less than 0.8 times as fast as the median one.
"""
import argparse, json, pathlib, signal, statistics, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def resident(pid):
    """Resident memory of a process in MiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return None  # It is ending.


def watch(process, deadline, every):
    samples = []
    while process.poll() is None and time.time() < deadline:
        if (mib := resident(process.pid)) is not None:
            samples.append(mib)
        time.sleep(every)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    return samples, process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--every", type=float, default=5, help="seconds between two looks")
    parser.add_argument("--moue", type=pathlib.Path, default=ROOT / "target/release/moue")
    parser.add_argument("train", nargs="*", help="options for `moue train`")
    args = parser.parse_args()

    folder = next((b for a, b in zip(args.train, args.train[1:]) if a in ("--out", "--resume")), None)
    if folder is None:
        parser.error("name the run's folder with --out or --resume")
    metrics = pathlib.Path(folder) / "metrics.jsonl"
    earlier = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    command = [args.moue, "train", "--quiet", *args.train]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    samples, status = watch(process, time.time() + 3600 * args.hours, args.every)
    if status not in (0, 130):
        sys.exit(f"moue train ended with status {status}")

    if len(samples) < 8:
        sys.exit("too short to tell: less than eight looks at the process")
    quarter = len(samples) // 4
    quarters = [statistics.median(samples[i * quarter : (i + 1) * quarter]) for i in range(4)]
    lines = metrics.read_text().splitlines()[earlier:]
    # The first epoch may have begun before: its speed is left out.
    lines = lines[1:] if earlier else lines
    speeds = [json.loads(line)["images_per_second"] for line in lines]
    if not speeds:
        sys.exit("too short to tell: no whole epoch")
    slowest, median = min(speeds), statistics.median(speeds)
    print(f"{len(samples) * args.every / 60:.0f} minutes, {len(speeds)} epochs")
    print("resident MiB, median of each quarter:", ", ".join(f"{q:.1f}" for q in quarters))
    print(f"images/s of an epoch: slowest {slowest:.0f}, median {median:.0f}, fastest {max(speeds):.0f}")
    if quarters[3] > 1.02 * quarters[1]:
        sys.exit("memory grows")
    if slowest < 0.8 * median:
        sys.exit("an epoch was slow")


if __name__ == "__main__":
    main()
