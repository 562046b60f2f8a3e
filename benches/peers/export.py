"""Writes the network and its layers as ONNX files: what ONNX Runtime and OpenVINO run.

    python export.py FOLDER --network 1 32 --layers 32

Weights are random. Shapes are fixed, batch included, since both runtimes plan better so. Batch norm is in evaluation
mode; the exporter folds it into the convolutions, and `check` makes sure that none is left.
"""

import argparse
import logging
from pathlib import Path

import onnx
import torch
from model import SCALE, Network, conv3x3, separable
from shapes import LAYERS, layer_file, network_file
from torch import nn


class Classifier(nn.Module):
    """The network as it classifies: scaled cosines."""

    def __init__(self):
        super().__init__()
        self.net = Network()

    def forward(self, x):
        return SCALE * self.net.logits(x)


def export(module, shape, path):
    torch.onnx.export(module.eval(), (torch.randn(shape),), path, dynamo=True, verbose=False, external_data=False)


def check(path):
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert "BatchNormalization" not in kinds, f"{path}: batch norm is not folded"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", type=int, nargs="*", default=[], metavar="BATCH")
    parser.add_argument("--layers", type=int, nargs="*", default=[], metavar="BATCH")
    args = parser.parse_args()
    # It reports every optional package that it does not find.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    args.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for batch in args.network:
        path = network_file(args.folder, batch)
        export(Classifier(), (batch, 1, 48, 48), path)
        check(path)
    for batch in args.layers:
        for layer in LAYERS:
            cin, cout, hw = layer
            export(conv3x3(cin, cout), (batch, cin, hw, hw), layer_file(args.folder, "standard", layer, batch))
            export(separable(cin, cout), (batch, cin, hw, hw), layer_file(args.folder, "separable", layer, batch))


if __name__ == "__main__":
    main()
