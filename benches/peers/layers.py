"""Times PyTorch's standard 3x3 against depthwise + pointwise convolution at every layer shape, forward.

    python layers.py --threads 2

The counterpart of `moue profile dsconv`.
"""

import argparse
import math
import statistics
import time

import torch
from torch import nn

LAYERS = [(32, 32, 48), (32, 64, 24), (64, 64, 24), (64, 128, 12), (128, 128, 12), (128, 256, 6), (256, 256, 6)]
WARM_UP = 3


def medians(functions, reps):
    """Median seconds of each function; they take turns, so that a slow moment of the machine meets all."""
    times = [[] for _ in functions]
    for rep in range(reps + WARM_UP):
        for f, kept in zip(functions, times):
            begin = time.perf_counter()
            f()
            if rep >= WARM_UP:
                kept.append(time.perf_counter() - begin)
    return [statistics.median(kept) for kept in times]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--reps", type=int, default=21)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reached = []
    print(f"{'layer':<14} {'std ms':>9} {'GFLOP/s':>8} {'ds ms':>9} {'GFLOP/s':>8} {'ratio':>7} {'theory':>7} {'reached':>8}")
    for cin, cout, hw in LAYERS:
        standard = nn.Conv2d(cin, cout, 3, padding=1, bias=False)
        separable = nn.Sequential(
            nn.Conv2d(cin, cin, 3, padding=1, groups=cin, bias=False), nn.Conv2d(cin, cout, 1, bias=False)
        )
        standard, separable = (m.to(memory_format=torch.channels_last) for m in (standard, separable))
        x = torch.randn(args.batch, cin, hw, hw).to(memory_format=torch.channels_last)
        with torch.no_grad():
            std, ds = medians([lambda: standard(x), lambda: separable(x)], args.reps)
        pixels = 2e-9 * args.batch * hw * hw
        theory = 9 * cout / (9 + cout)
        reached.append(std / ds / theory)
        print(
            f"{f'{cin}->{cout} @ {hw}':<14} {std * 1e3:9.3f} {pixels * 9 * cin * cout / std:8.1f} {ds * 1e3:9.3f} "
            f"{pixels * cin * (9 + cout) / ds:8.1f} {std / ds:7.2f} {theory:7.2f} {reached[-1]:8.2f}",
            flush=True,
        )
    print(f"reached of theory, geometric mean: {math.exp(statistics.mean(map(math.log, reached))):.3f}")


if __name__ == "__main__":
    main()
