#!/usr/bin/env python3
"""Faces per second from a folder of image files to labels, moue beside ONNX Runtime, in turns.

    benches/predict.py --moue target/release/moue --weights W --folder fer2013/test [--onnx NETWORK.onnx]

Both read, decode and classify every file below the folder in a process that is timed from start to end. NETWORK.onnx
takes normalised faces, [n, 48, 48, 1] or [n, 1, 48, 48] with a free first dimension, as `moue export --format onnx`
writes it; its row needs onnxruntime, numpy and Pillow, and is left out without --onnx. Absolute figures of different
machines or hours do not compare: quote the ratio, with the machine idle.
"""

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

ENDINGS = {".jpg", ".jpeg", ".png"}
BATCH = 64


def files_below(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in ENDINGS)


def normalisation(weights):
    """Mean and deviation that a weights file says its faces are normalised with."""
    with open(weights, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        description = json.loads(json.loads(file.read(length))["__metadata__"]["moue"])
    return description["mean"], description["std"]


def onnx(args):
    """What the child process of ONNX Runtime does: prints how many faces it classified."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy
    import onnxruntime
    from PIL import Image

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(args.onnx, options, providers=["CPUExecutionProvider"])
    face = session.get_inputs()[0]
    shape = [-1, *face.shape[1:]]
    mean, std = normalisation(args.weights)
    paths = files_below(args.folder)
    faces = 0
    with ThreadPoolExecutor(args.threads) as pool:
        for start in range(0, len(paths), BATCH):
            chunk = pool.map(lambda path: numpy.asarray(Image.open(path).convert("L")), paths[start : start + BATCH])
            pixels = (numpy.stack(list(chunk)).astype("float32") / 255 - mean) / std
            logits = session.run(None, {face.name: pixels.reshape(shape)})[0]
            faces += len(logits.argmax(-1))
    print(faces)


def seconds(command):
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moue", default="target/release/moue")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--onnx", help="the same network")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return onnx(args)
    count = len(files_below(args.folder))
    if count == 0:
        sys.exit(f"{args.folder}: no image below this folder")
    threads = ["--threads", str(args.threads)]
    contestants = {"moue": [args.moue, "predict", "--weights", args.weights, "--csv", *threads, args.folder]}
    if args.onnx:
        contestants["ONNX Runtime"] = [sys.executable, *sys.argv, "--child"]
    times = {name: [] for name in contestants}
    for _ in range(args.rounds):
        for name, command in contestants.items():
            times[name].append(seconds(command))
    print(f"{count} faces, {args.threads} threads, medians of {args.rounds} rounds in turns")
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:>14}: {count / median:8.0f} faces/s ({median:.2f} s)")


if __name__ == "__main__":
    main()
