"""Times inference of the whole network and prints one JSON object.

    python infer.py torch --batch 1 --threads 2 [--compile]
    python infer.py onnxruntime --batch 32 --threads 2 --models FOLDER

FOLDER holds what `export.py FOLDER --network 1 32` writes. Batch norm is folded into the convolutions everywhere.
"""

import argparse
import json
import statistics
import time

from runtimes import RUNTIMES
from shapes import network_file

WARM_UP = 10


def pytorch(args):
    """A call of PyTorch's network in channels_last."""
    import torch
    from model import Network

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    net = Network().eval()
    if args.compile:
        # Weights become constants: batch norm is folded, weights are packed for oneDNN.
        torch._inductor.config.freezing = True
    else:
        fold(net)
    net = net.to(memory_format=torch.channels_last)
    x = torch.randn(args.batch, 1, 48, 48).to(memory_format=torch.channels_last)
    logits = torch.compile(net.logits) if args.compile else net.logits
    return torch.inference_mode()(lambda: logits(x))


def fold(net):
    """Folds every batch norm into the convolution before it."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in list(net.modules()):
        children = list(module.named_children())
        for (conv_name, conv), (bn_name, bn) in conv_bn_pairs(children):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, bn))
            setattr(module, bn_name, nn.Identity())


def conv_bn_pairs(children):
    """(convolution, batch norm) of a module by their names: conv1 and bn1, pw1 and bn1, short and short_bn."""
    named = dict(children)
    for bn in [name for name in named if "bn" in name]:
        candidates = [bn.replace("bn", "conv"), bn.replace("bn", "pw"), bn.removesuffix("_bn")]
        conv = next(name for name in candidates if name in named and name != bn)
        yield (conv, named[conv]), (bn, named[bn])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=["torch", *RUNTIMES])
    parser.add_argument("--models", help="folder of ONNX files")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to repeat")
    args = parser.parse_args()
    if args.engine == "torch":
        run = pytorch(args)
    else:
        run = RUNTIMES[args.engine](network_file(args.models, args.batch), args.threads).run
    median = median_seconds(run, args.seconds)
    print(json.dumps({"us_per_image": median * 1e6 / args.batch}))


def median_seconds(f, duration):
    """Median seconds of a call, of all calls in `duration` seconds after a warm-up."""
    for _ in range(WARM_UP):
        f()
    times, begin = [], time.perf_counter()
    while not times or time.perf_counter() - begin < duration:
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
