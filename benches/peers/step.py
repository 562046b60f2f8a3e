"""Times PyTorch's training step and prints one JSON object.

    python step.py --threads 2 --batch 32 --adam fused
"""

import argparse
import json
import statistics
import time

import torch
from model import Network

WARM_UP = 5


def seconds(f):
    begin = time.perf_counter()
    f()
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--adam", choices=["default", "fused"], default="default")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--standard", action="store_true", help="standard 3x3 convolutions in the blocks")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    net = Network(standard=args.standard).train().to(memory_format=torch.channels_last)
    x = torch.randn(args.batch, 1, 48, 48).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 7, (args.batch,))
    run = torch.compile(net) if args.compile else net
    adam = torch.optim.Adam(net.parameters(), 1e-3, fused=args.adam == "fused" or None)

    def step():
        adam.zero_grad(set_to_none=True)
        loss, _ = run(x, labels)
        loss.backward()
        adam.step()

    for _ in range(WARM_UP):
        step()
    median = statistics.median(seconds(step) for _ in range(args.steps))
    print(json.dumps({"images_per_second": args.batch / median, "ms_per_step": median * 1e3}))


if __name__ == "__main__":
    main()
