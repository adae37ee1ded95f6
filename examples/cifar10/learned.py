"""Keeps the trained learned path small: float16, and the network behind it as differences.

    export SPLITNET_DATA=...
    python examples/cifar10/learned.py unpack out/cifar10/entropic.safetensors
    splitnet train examples/cifar10/entropic-trained.toml --out out/cifar10/entropic
    splitnet build --learned out/cifar10/entropic ...

`unpack` adds the differences to the pretrained ResNet-56, whose weights are not part of the
project; the training of no epochs then fits the tables of the codecs and measures every level.
`pack` makes the small file from a student's weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from splitnet.builder.torch_source import build_module

HERE = Path(__file__).parent
NETWORK = f"{HERE / 'model.py'}:resnet56"
SMALL = HERE / "trained" / "entropic.npz"
TAIL = "tail."


def pack(weights: Path) -> None:
    """Write the small file from all weights of a student."""
    begun = build_module(NETWORK).state_dict()
    found: dict[str, Any] = {}
    for name, value in load_file(weights).items():
        if value.dtype.is_floating_point:
            before = begun[name.removeprefix(TAIL)] if name.startswith(TAIL) else 0.0
            found[name] = (value - before).numpy().astype(np.float16)
    SMALL.parent.mkdir(exist_ok=True)
    np.savez_compressed(SMALL, **found)


def unpack(weights: Path) -> None:
    """Write all weights of a student from the small file."""
    begun = {TAIL + name: value for name, value in build_module(NETWORK).state_dict().items()}
    found: dict[str, Tensor] = dict(begun)
    with SMALL.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        for name in stored.files:
            change = torch.from_numpy(stored[name].astype(np.float32))
            found[name] = begun[name] + change if name in begun else change
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in found.items()}, weights)


def main() -> int:
    """Pack or unpack, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("weights", type=Path, help="safetensors file with all weights")
    chosen = parser.parse_args()
    (pack if chosen.what == "pack" else unpack)(chosen.weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
