#!/usr/bin/env python3
"""Exports every network as ONNX and compares ONNX Runtime and OpenVINO with moue's own probabilities.

    cargo build --release
    pip install numpy pillow onnx onnxruntime openvino
    python tests/interop/check_onnx.py [--weights runs/fer/best.safetensors]
"""

import json

import numpy as np
import onnx
import onnxruntime
import openvino
from common import compare, probabilities, run, work


def runtime(path, x, batch):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outs = [session.run(["probabilities", "logits"], {"faces": x[i : i + batch]}) for i in range(0, len(x), batch)]
    p, logits = (np.concatenate(part) for part in zip(*outs))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    assert np.abs(powers / powers.sum(1, keepdims=True) - p).max() < 1e-6, "probabilities are the logits' softmax"
    return p


def open_vino(path, x):
    # As it comes it computes in bfloat16 where the CPU can.
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return model([x])["probabilities"]


def check(args, folder, name, path, pixels, paths):
    out = folder / "model.onnx"
    written = run(args.moue, "export", "--weights", path, "--format", "onnx", "--out", out)
    assert written["bytes"] == out.stat().st_size and written["path"] == str(out)
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["classes"]) == written["classes"]
    x = pixels.astype(np.float32)
    others = {
        "ONNX Runtime": runtime(out, x, len(x)),
        "one by one": runtime(out, x, 1),
        "OpenVINO": open_vino(out, x),
    }
    return compare(name, probabilities(args.moue, path, paths), others)


if __name__ == "__main__":
    work(__doc__, check)
