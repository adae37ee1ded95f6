"""The exits of ResNet-56 as their training begins, and their small file when it has ended.

    export SPLITNET_DATA=...
    splitnet train examples/cifar10/exits.toml --out out/cifar10/exits
    python examples/cifar10/exits.py out/cifar10/exits

The second command writes ``trained/exits.npz``: float16, the first head as differences from
ResNet-20, whose weights are not part of the project.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from splitnet.builder.data import load_data
from splitnet.builder.torch_source import build_module
from splitnet.builder.train_setting import prepared
from splitnet.console import say
from splitnet.runtime.preprocess import parse_steps
from splitnet.training.addressing import INPUT, Network, run_part
from splitnet.training.checkpoints import part
from splitnet.training.exit_results import HEADS
from splitnet.training.results import Folder

MODEL = Path(__file__).with_name("model.py")
SMALL = MODEL.parent / "trained" / "exits.npz"
PREPROCESS = "scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=chw"
FIRST = "layer1.2"

ADAPTER_IMAGES = 500


def heads() -> nn.ModuleList:
    """Return the untrained heads; the first one begins near ResNet-20.

    Its mixing of channels is fitted by least squares: from the tensor that it reads to what the
    first stage of ResNet-20 makes of the same images.
    """
    found, big, little = (
        build_module(f"{MODEL}:{n}") for n in ("new_exits", "resnet56", "resnet20")
    )
    assert isinstance(found, nn.ModuleList)
    images = _images()
    with torch.no_grad():
        pixels, wanted = (
            _pixels(network, place, images) for network, place in ((big, FIRST), (little, "layer1"))
        )
        ones = torch.ones(len(pixels), 1, dtype=torch.float64)
        solution = torch.linalg.lstsq(torch.cat([pixels, ones], 1), wanted).solution.float()
        adapter = found[0].get_submodule("adapter.0")
        adapter.get_parameter("weight").copy_(solution[:-1].T[:, :, None, None])
        adapter.get_parameter("bias").copy_(solution[-1])
    return found


def pack(results: Path) -> None:
    """Write the small file from a folder of results."""
    begun = build_module(f"{MODEL}:new_exits").state_dict()
    weights = {
        name: (value - begun[name] if name.startswith("0.") else value).numpy().astype(np.float16)
        for name, value in part(Folder(results).weights(), HEADS).items()
        if value.is_floating_point()
    }
    with SMALL.open("wb") as out:
        np.savez_compressed(out, allow_pickle=False, **weights)
    say(f"wrote {SMALL}")


def _images() -> Tensor:
    file = Path(os.environ["SPLITNET_DATA"]) / "cifar10" / "cifar10_train_0.npz"
    data = prepared(load_data(f"{file}[:{ADAPTER_IMAGES}]", "training"), parse_steps(PREPROCESS))
    return torch.from_numpy(data.inputs(range(data.count)))


def _pixels(network: nn.Module, place: str, images: Tensor) -> Tensor:
    """Return what a network has at a place, ``(pixels, channels)``."""
    (found,) = run_part(Network(network, images[:1]).part(INPUT, [place]), images)
    return found.movedim(1, 3).reshape(-1, found.shape[1]).double()


def main() -> int:
    """Pack the results that the command line names."""
    parser = argparse.ArgumentParser(description="Make trained/exits.npz from results.")
    parser.add_argument("results", type=Path)
    pack(parser.parse_args().results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
