"""What the checks share: running moue, faces as files, weights of every network, and comparing probabilities.

MOUE_FER2013 names a folder of real faces, `test/<class>/*`; without it, synthetic ones are cut from the sheet that
`moue augment` draws.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SIDE = 48
# Probabilities may differ by this much, float32 summed in other orders, and by this share of what faces make of them:
# a network that hardly looks at the face would agree with anything.
TOLERANCE, SHARE = 1e-4, 1e-3

# A training of each network; together they have every layer, position and head.
NETWORKS = {
    "dnn-cbam": [],
    "dnn, softmax": ["--model", "dnn", "--loss", "softmax"],
    "cbam after the input module, softmax": ["--cbam", "input", "--loss", "softmax"],
    "cbam after block 1": ["--cbam", "block1"],
    "cbam after block 2": ["--cbam", "block2"],
    "cbam after block 3, svm": ["--cbam", "block3", "--loss", "svm"],
    "se, an identity block each": ["--attention", "se", "--identity-blocks", "1"],
    "wider, identity blocks behind some": ["--widths", "64,128,256,256", "--identity-blocks", "1,1,1,0"],
    "vgg": ["--model", "vgg"],
    "vgg-cbam, narrower, softmax": ["--model", "vgg-cbam", "--widths", "48,96,192,256", "--loss", "softmax"],
    "cnn-svm": ["--model", "cnn-svm"],
}


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moue", type=Path, default=ROOT / "target/release/moue")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="check these files, too")
    parser.add_argument("--only", nargs="*", choices=NETWORKS, help="only these networks")
    parser.add_argument("--faces", type=int, default=70, metavar="N")
    return parser.parse_args()


def run(moue, *args):
    """The JSON object that a command prints."""
    command = [moue, *map(str, args), "--json", "--quiet"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def faces(moue, folder, count):
    """[count, 1, 48, 48] grey values and the image files they stand in."""
    root = os.environ.get("MOUE_FER2013")
    if root:
        # One of each class, then the next of each.
        classes = [sorted(c.iterdir()) for c in sorted(Path(root, "test").iterdir())]
        files = [file for row in zip(*classes) for file in row][:count]
        images = [np.asarray(Image.open(file).convert("L")) for file in files]
    else:
        sheet = folder / "sheet.png"
        run(moue, "augment", "--scale", 1, "--draws", -(-count // 7) - 1, "--limit", 700, "--out", sheet)
        images = cells(np.asarray(Image.open(sheet).convert("L")))[:count]
        files = None
    # Every check reads the same pixels: decoders of JPEG differ by a grey value.
    paths = []
    for i, image in enumerate(images):
        paths.append(folder / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    print(f"{len(paths)} {'real' if files else 'synthetic'} faces")
    return np.stack(images)[:, None], paths


def cells(sheet):
    """The faces of a sheet: each has a border of two pixels on its left and above."""
    step = SIDE + 2
    starts = [range(2, size - SIDE + 1, step) for size in sheet.shape]
    return [sheet[y : y + SIDE, x : x + SIDE] for x in starts[1] for y in starts[0]]


def weights(args, folder):
    """(name, weights file) of each network, trained for an epoch on a few synthetic faces and calibrated, and of
    --weights."""
    for name, options in NETWORKS.items():
        if args.only and name not in args.only:
            continue
        out = folder / name.replace(" ", "-").replace(",", "")
        # Small batches: running statistics need some steps.
        run(args.moue, "train", "--epochs", 1, "--limit", 210, "--batch", 4, "--out", out, *options)
        calibrated = out / "calibrated.safetensors"
        fitted = run(args.moue, "calibrate", "--weights", out / "best.safetensors", "--limit", 70, "--out", calibrated)
        assert fitted["temperature"] != 1
        yield name, calibrated
    for path in args.weights:
        yield str(path), path


def probabilities(moue, path, paths):
    """[faces, classes] as `moue predict` says."""
    results = run(moue, "predict", "--weights", path, *paths)["results"]
    assert [r["path"] for r in results] == [str(p) for p in paths]
    return np.array([list(r["faces"][0]["probabilities"].values()) for r in results])


def compare(name, moue, others):
    """Prints the largest difference of each other engine's probabilities; returns whether all are small."""
    worst = {engine: float(np.abs(p - moue).max()) for engine, p in others.items()}
    # Where two classes are as good as equal, either may win.
    same = {engine: int((p.argmax(1) == moue.argmax(1)).sum()) for engine, p in others.items()}
    text = ", ".join(f"{engine} {worst[engine]:.1e} ({same[engine]} of {len(moue)} labels)" for engine in others)
    spread = float(np.ptp(moue, axis=0).max())
    print(f"{name}: {text}, of a spread of {spread:.1e}", flush=True)
    return all(w <= min(TOLERANCE, SHARE * spread) for w in worst.values())


def work(description, check):
    """Runs `check(args, folder, name, weights file, pixels, image files)` for each network."""
    args = arguments(description)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pixels, paths = faces(args.moue, folder, args.faces)
        results = [check(args, folder, name, path, pixels, paths) for name, path in weights(args, folder)]
    assert results, "nothing was checked"
    if not all(results):
        raise SystemExit("some differences are too large")
