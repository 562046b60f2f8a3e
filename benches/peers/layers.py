"""Times a standard 3x3 against depthwise + pointwise convolution at every layer shape, forward; prints JSON.

    python layers.py torch --threads 2
    python layers.py onnxruntime --threads 2 --models FOLDER

FOLDER holds what `export.py FOLDER --layers 32` writes. The counterpart of `moue profile dsconv`. PyTorch is given
channels_last tensors, which its convolutions want. Of ONNX Runtime and OpenVINO, convolutions alone are counted,
without --whole: a network changes layouts once where each of these small models does so twice, in up to a third of
its time.
"""

import argparse
import json
import statistics
import time

from runtimes import RUNTIMES
from shapes import LAYERS, layer_file

WARM_UP = 3


def seconds(f):
    begin = time.perf_counter()
    f()
    return time.perf_counter() - begin


def torch_times(layer, args):
    """Seconds of each run, of both kinds."""
    import torch
    from model import conv3x3, separable

    torch.set_num_threads(args.threads)
    cin, cout, hw = layer
    modules = [m.to(memory_format=torch.channels_last) for m in (conv3x3(cin, cout), separable(cin, cout))]
    x = torch.randn(args.batch, cin, hw, hw).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return zip(*[[seconds(lambda: m(x)) for m in modules] for _ in range(args.reps + WARM_UP)])


def runtime_times(layer, args):
    """Seconds of each run, in convolutions or whole, of both kinds."""
    files = [layer_file(args.models, kind, layer, args.batch) for kind in ("standard", "separable")]
    runtimes = [RUNTIMES[args.engine](file, args.threads, profile=not args.whole) for file in files]
    if args.whole:
        return zip(*[[seconds(runtime.run) for runtime in runtimes] for _ in range(args.reps + WARM_UP)])
    for _ in range(args.reps + WARM_UP):
        for runtime in runtimes:
            runtime.run()
    return [runtime.convolutions() for runtime in runtimes]


def medians(layer, args):
    """Median seconds of both kinds, which take turns, so that a slow moment of the machine meets both."""
    times = torch_times if args.engine == "torch" else runtime_times
    return [statistics.median(kind[WARM_UP:]) for kind in times(layer, args)]


def row(layer, batch, std, ds):
    """Keys as in `moue profile dsconv --json`."""
    cin, cout, hw = layer
    pixels = 2e-9 * batch * hw * hw
    return {
        "cin": cin,
        "cout": cout,
        "hw": hw,
        "std_ms": std * 1e3,
        "std_gflops": pixels * 9 * cin * cout / std,
        "ds_ms": ds * 1e3,
        "ds_gflops": pixels * cin * (9 + cout) / ds,
        "ratio": std / ds,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=["torch", *RUNTIMES])
    parser.add_argument("--models", help="folder of ONNX files")
    parser.add_argument("--whole", action="store_true", help="count changes of layout too")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reps", type=int, default=21)
    args = parser.parse_args()
    print(json.dumps({"rows": [row(layer, args.batch, *medians(layer, args)) for layer in LAYERS]}))


if __name__ == "__main__":
    main()
