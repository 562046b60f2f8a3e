#!/usr/bin/env python3
"""Exports every network's weights for PyTorch and compares it with moue's own probabilities; then changes the weights
in PyTorch, imports them, and compares again.

    cargo build --release
    pip install numpy pillow safetensors torch
    python tests/interop/check_pytorch.py [--weights runs/fer/best.safetensors]
"""

import sys

import torch
from common import ROOT, compare, probabilities, run, work

sys.path.insert(0, str(ROOT / "examples"))

import pytorch  # noqa: E402


def predict(net, description, pixels):
    x = (torch.from_numpy(pixels).float() / 255 - description["mean"]) / description["std"]
    with torch.inference_mode():
        return net.eval()(x).numpy()


def change(net, description, pixels):
    """One step of SGD, in which running statistics move, too."""
    x = (torch.from_numpy(pixels).float() / 255 - description["mean"]) / description["std"]
    loss = -net.train()(x)[:, 0].log().mean()
    loss.backward()
    with torch.no_grad():
        for p in net.parameters():
            p -= 1e-3 * p.grad / p.grad.norm().clamp(min=1e-3)


def check(args, folder, name, path, pixels, paths):
    there, changed, back = (folder / f for f in ["there.safetensors", "changed.safetensors", "back.safetensors"])
    run(args.moue, "export", "--weights", path, "--format", "safetensors", "--out", there)
    net, description = pytorch.load(there)
    good = compare(name, probabilities(args.moue, path, paths), {"PyTorch": predict(net, description, pixels)})
    change(net, description, pixels)
    pytorch.save(net, description, changed)
    run(args.moue, "import", "--weights", changed, "--out", back)
    theirs = predict(net, description, pixels)
    return compare("  trained on there, and back", probabilities(args.moue, back, paths), {"PyTorch": theirs}) and good


if __name__ == "__main__":
    work(__doc__, check)
