"""The layers, and how their ONNX files are called."""

from pathlib import Path

# (channels in, channels out, side of the map)
LAYERS = [(32, 32, 48), (32, 64, 24), (64, 64, 24), (64, 128, 12), (128, 128, 12), (128, 256, 6), (256, 256, 6)]


def network_file(folder, batch):
    return Path(folder) / f"network-{batch}.onnx"


def layer_file(folder, kind, layer, batch):
    cin, cout, hw = layer
    return Path(folder) / f"{kind}-{cin}-{cout}-{hw}-{batch}.onnx"
