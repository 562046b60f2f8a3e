#!/usr/bin/env python3
"""Kills a training with SIGKILL at random moments, resumes it each time, and compares the end with a training that
was left alone: weights and metrics must be the same to the bit.

    cargo build --release
    tests/reliability/kill.py --kills 100

Every life of the process has another number of threads. Every second one writes a checkpoint after each step, the
others only at the ends of epochs.
"""
import argparse, json, pathlib, random, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAINING = ["--limit", "700", "--batch", "16", "--seed", "5", "--epochs", "60"]
LONGEST_LIFE = 3.0


def metrics(folder):
    """What was measured at each epoch, without how long it took."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def start(moue, folder, life):
    """Starts the training in `folder`, or resumes it once there is something to resume."""
    which = ["--resume", folder] if (folder / "config.json").exists() else ["--out", folder, *TRAINING]
    options = ["--threads", str(1 + life % 3), "--checkpoint-every", "0" if life % 2 else "3600"]
    return subprocess.Popen([moue, "train", "--quiet", *which, *options],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def check(life, complaint):
    # Killed between the two renames of a save, only the previous checkpoint has a name; a damaged one never may be.
    expected = "checkpoint.bin: No such file"
    bad = [line for line in complaint.splitlines() if expected not in line]
    if bad:
        sys.exit(f"life {life}: {bad[0]}")


def live(moue, folder, life, seconds):
    """Whether the training ran to its end in less than `seconds` (None: as long as it takes)."""
    process = start(moue, folder, life)
    try:
        _, complaint = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        _, complaint = process.communicate()
        check(life, complaint)
        return False
    if process.returncode != 0:
        sys.exit(f"life {life} failed: {complaint}")
    check(life, complaint)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--moue", type=pathlib.Path, default=ROOT / "target/release/moue")
    args = parser.parse_args()

    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as base:
        alone, killed = pathlib.Path(base) / "alone", pathlib.Path(base) / "killed"
        begin = time.time()
        subprocess.run([args.moue, "train", "--quiet", "--out", alone, *TRAINING], check=True, stdout=subprocess.DEVNULL)
        print(f"left alone: {time.time() - begin:.0f} s")

        writing = 0
        for life in range(args.kills):
            if live(args.moue, killed, life, rng.uniform(0.05, LONGEST_LIFE)):
                sys.exit(f"the training ended before kill {life + 1}: make it longer")
            # A file that had not got its name when the process died.
            writing += any(killed.glob(".*.tmp"))
        live(args.moue, killed, args.kills, None)
        for name in ("last.safetensors", "best.safetensors"):
            if (alone / name).read_bytes() != (killed / name).read_bytes():
                sys.exit(f"{name} differs")
        if metrics(alone) != metrics(killed):
            sys.exit("metrics.jsonl differs")
        left = sorted(path.name for path in killed.glob(".*.tmp"))
        if left:
            sys.exit(f"left behind: {', '.join(left)}")
        print(f"{args.kills} kills, {writing} of them while a file was written: weights and metrics are the same to the bit")


if __name__ == "__main__":
    main()
