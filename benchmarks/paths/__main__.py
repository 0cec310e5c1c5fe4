"""Paths and surfaces beside the loops that are mostly written for them.

Run it on a quiet machine; everything is on one thread, and the ways of each comparison run in turn.

    python benchmarks/paths [--quick]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few points, one round")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}")
    for name in ("_barriers", "_surface"):
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).main(quick=quick)


if __name__ == "__main__":
    main()
