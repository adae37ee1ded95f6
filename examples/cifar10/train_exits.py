"""Train the exits of ResNet-56 whose weights lie in ``trained/exits.npz``.

    SPLITNET_DATA=... python examples/cifar10/train_exits.py --epochs 12 --out out/exits.npz

ResNet-20, 32, 44 and 56 teach together; their answers to 8 changed copies of the training images
are kept beside the result. The network stays as it is.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from splitnet.builder.data import Dataset, load_data
from splitnet.builder.torch_source import build_module
from splitnet.builder.train import prepared
from splitnet.console import progress, say
from splitnet.errors import ConfigError
from splitnet.runtime.answers import labels
from splitnet.runtime.preprocess import parse_steps
from splitnet.runtime.samples import Samples
from splitnet.training.addressing import INPUT, Network, run_part
from splitnet.training.branches import BranchConfig, Branches, branch_answers, train_branches
from splitnet.training.checkpoints import Checkpoint
from splitnet.training.loop import Epoch, torch_threads
from splitnet.training.teacher import Arithmetic, Teacher
from splitnet.training.views import Data, Views

HERE = Path(__file__).parent
MODEL = HERE / "model.py"
PREPROCESS = "scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=chw"
PLACES = ("layer1.2", "layer3.0")
HELD_OUT = 3000
"""Training images that train nothing; a build fits temperatures on them."""

ADAPTER_IMAGES = 500


def main() -> int:
    """Train, print the accuracy on images held out, write the weights."""
    parser = argparse.ArgumentParser(description="Train the exits of ResNet-56 for CIFAR-10.")
    parser.add_argument("--data", type=Path, default=os.environ.get("SPLITNET_DATA"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--limit", type=int, default=None, help="training images at most")
    parser.add_argument("--out", type=Path, default=Path("out/exits.npz"))
    options = parser.parse_args()
    if options.data is None:
        raise ConfigError("set SPLITNET_DATA or give --data: the folder with cifar10/ and weights/")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    training, held = load(options.data / "cifar10", options.limit)
    big, *others = _modules("teachers")
    *_, little = others
    heads = _modules("new_exits")
    network = Network(big, torch.from_numpy(training.inputs([0])))
    branches = Branches(network, PLACES, heads, frozen=True)
    begin_adapter(branches, little, training)
    arithmetic = Arithmetic(bf16=True)
    config = BranchConfig(PLACES, options.epochs)
    with torch_threads(1), progress() as report:
        train_branches(
            branches,
            config,
            Teacher([big, *others], arithmetic, options.out.parent / "teacher"),
            training,
            Views(flip=True, shift=4, mix=0.5),
            arithmetic,
            report,
            checkpoint=Checkpoint(options.out.with_suffix(".checkpoint"), training.key),
            report=lambda epoch, average: _tell(epoch, average, held, arithmetic),
        )
    _write(heads, options.out)
    return 0


def load(folder: Path, limit: int | None) -> tuple[Data, Data]:
    """Return the images that train and those that are held out."""
    steps = parse_steps(PREPROCESS)
    parts = [load_data(str(folder / f"cifar10_train_{i}.npz"), "training") for i in range(3)]
    x = [image for part in parts for image in part.samples.x]
    y = np.concatenate([part.y for part in parts if part.y is not None])
    rest = len(x) - HELD_OUT
    stop = rest if limit is None else min(limit, rest)
    sets = Samples(x[:stop], y[:stop]), Samples(x[rest:], y[rest:])
    first, second = (prepared(Dataset(samples, "CIFAR-10"), steps) for samples in sets)
    return first, second


def begin_adapter(branches: Branches, little: nn.Module, data: Data) -> None:
    """Let the first head begin near ResNet-20: fit its mixing of channels by least squares."""
    images = torch.from_numpy(data.inputs(range(min(ADAPTER_IMAGES, data.count))))
    goal_network = Network(little, images[:1])
    with torch.no_grad():
        (goal,) = run_part(goal_network.part(INPUT, ["layer1"]), images)
        found, *_ = run_part(branches.network, images)
        pixels, wanted = (t.movedim(1, 3).reshape(-1, t.shape[1]).double() for t in (found, goal))
        ones = torch.ones(len(pixels), 1, dtype=torch.float64)
        solution = torch.linalg.lstsq(torch.cat([pixels, ones], 1), wanted).solution.float()
        adapter = branches.heads[0].get_submodule("adapter.0")
        adapter.get_parameter("weight").copy_(solution[:-1].T[:, :, None, None])
        adapter.get_parameter("bias").copy_(solution[-1])


def _modules(name: str) -> nn.ModuleList:
    found = build_module(f"{MODEL}:{name}")
    assert isinstance(found, nn.ModuleList)
    return found


def _tell(epoch: Epoch, average: Branches, held: Data, arithmetic: Arithmetic) -> None:
    assert held.labels is not None
    right = [
        float((labels(answers) == held.labels).mean())
        for answers in branch_answers(average, held, arithmetic)[:-1]
    ]
    told = ", ".join(f"{name} {share:.2%}" for name, share in zip(PLACES, right, strict=True))
    say(f"epoch {epoch.number}: loss {epoch.loss:.4f}, held-out images: {told}")


def _write(heads: nn.ModuleList, file: Path) -> None:
    """Write float16 weights, those of the first head as differences from where it began."""
    begun = _modules("new_exits").state_dict()
    weights = {
        name: (value - begun[name] if name.startswith("0.") else value).numpy().astype(np.float16)
        for name, value in heads.state_dict().items()
        if value.is_floating_point()
    }
    with file.open("wb") as out:
        np.savez_compressed(out, allow_pickle=False, **weights)
    say(f"wrote {file}")


if __name__ == "__main__":
    sys.exit(main())
