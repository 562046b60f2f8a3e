#!/usr/bin/env python3
"""Faces per second from a folder of image files to labels, moue beside ONNX Runtime, in turns.

    benches/predict.py --folder fer2013/test            # needs onnxruntime, numpy and Pillow

Both read, decode and classify every file below the folder, faces of 48 x 48 pixels, with the weights that ship, in a
process that is timed from start to end; ONNX Runtime runs what `moue export --format onnx` writes. Their labels are
compared. Absolute figures of different machines or hours do not compare: quote the ratio, with the machine idle.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENDINGS = {".jpg", ".jpeg", ".png"}
BATCH = 64


def files_below(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in ENDINGS)


def onnx(args):
    """What the child process of ONNX Runtime does: prints a label a face."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy
    import onnxruntime
    from PIL import Image

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(args.onnx, options, providers=["CPUExecutionProvider"])
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    paths = files_below(args.folder)
    with ThreadPoolExecutor(args.threads) as pool:
        for start in range(0, len(paths), BATCH):
            chunk = pool.map(lambda path: numpy.asarray(Image.open(path).convert("L")), paths[start : start + BATCH])
            faces = numpy.stack(list(chunk)).astype("float32")[:, None]
            for row in session.run(["probabilities"], {"faces": faces})[0]:
                print(classes[row.argmax()])


def timed(command):
    """Seconds and what was printed."""
    begin = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - begin, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moue", default="target/release/moue")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--onnx", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.onnx:
        return onnx(args)
    count = len(files_below(args.folder))
    if count == 0:
        sys.exit(f"{args.folder}: no image below this folder")
    network = os.path.join(tempfile.mkdtemp(), "moue.onnx")
    subprocess.run([args.moue, "export", "--format", "onnx", "--out", network], check=True, stdout=subprocess.DEVNULL)
    threads = ["--threads", str(args.threads)]
    contestants = {"moue": [args.moue, "predict", "--csv", *threads, args.folder],
                   "ONNX Runtime": [sys.executable, *sys.argv, "--onnx", network]}
    times, labels = {name: [] for name in contestants}, {}
    for _ in range(args.rounds):
        for name, command in contestants.items():
            seconds, printed = timed(command)
            times[name].append(seconds)
            labels[name] = printed.splitlines()
    ours = [row["label"] for row in csv.DictReader(labels["moue"])]
    equal = sum(a == b for a, b in zip(ours, labels["ONNX Runtime"], strict=True))
    print(f"{equal} of {count} labels equal")
    print(f"{count} faces, {args.threads} threads, medians of {args.rounds} rounds in turns")
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:>14}: {count / median:8.0f} faces/s ({median:.2f} s)")


if __name__ == "__main__":
    main()
