r"""Results of `image-codec` whose network is the mean of the fine-tuned and the original one.

    python examples/cifar10/averaged.py out/cifar10/jpeg out/cifar10/jpeg-averaged

At high qualities the mean is the better one: what fine-tuning on bad files costs there is half
undone (docs/rate-accuracy.md). The figures in ``results.json`` stay those of the fine-tuned one.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from splitnet.builder.torch_source import build_module
from splitnet.training.checkpoints import write_tensors
from splitnet.training.results import ROWS, WEIGHTS, Folder

NETWORK = f"{Path(__file__).parent / 'model.py'}:resnet56"
TAIL = "tail."


def main() -> int:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, help="of splitnet train with the recipe image-codec")
    parser.add_argument("out", type=Path, help="a new folder")
    chosen = parser.parse_args()
    weights, original = Folder(chosen.results).weights(), build_module(NETWORK).state_dict()
    for name, tuned in weights.items():
        if name.startswith(TAIL) and tuned.dtype.is_floating_point:
            weights[name] = (tuned + original[name.removeprefix(TAIL)]) / 2
    shutil.copytree(chosen.results, chosen.out)
    (chosen.out / ROWS).unlink(missing_ok=True)
    write_tensors(chosen.out / WEIGHTS, weights, {"recipe": "image-codec"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
