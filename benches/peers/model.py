"""The reference network in PyTorch, the one that the golden values come from, and its layers alone."""

import sys
from pathlib import Path

from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "fixtures"))

from golden import SCALE, Network, conv3x3, depthwise, pointwise  # noqa: E402, F401


def separable(cin, cout):
    """Depthwise 3x3 and pointwise convolution in place of conv3x3(cin, cout)."""
    return nn.Sequential(depthwise(cin), pointwise(cin, cout))
