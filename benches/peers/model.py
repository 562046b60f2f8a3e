"""The reference network in PyTorch: the one that the golden values come from."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "fixtures"))

from golden import Network  # noqa: E402, F401
