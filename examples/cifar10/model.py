r"""ResNet-56 for CIFAR-10 with the weights of the shared test data (``SPLITNET_DATA``).

Examples
--------
::

    splitnet build --model examples/cifar10/model.py:resnet56 --cuts layer1,layer2,layer3 \
        --preprocess scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=chw \
        --data "$SPLITNET_DATA/cifar10/cifar10_train_0.npz" \
        --calib "$SPLITNET_DATA/cifar10/cifar10_test.npz[:2400]" \
        --test "$SPLITNET_DATA/cifar10/cifar10_test.npz[2400:]" --out bundle

With its trained exits, whose heads have not seen the training images from number 27,000 on::

    splitnet build ... --cuts layer1.2,layer3.0 --exit-at layer1.2,layer3.0 \
        --exit-heads examples/cifar10/model.py:exits --exit-risk 0.005 \
        --data "$SPLITNET_DATA/cifar10/cifar10_train_2.npz[7000:]"
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

from splitnet.errors import ConfigError
from splitnet.training.heads import ResidualHead

EXIT_CUTS = ("layer1.2", "layer3.0")
"""Where the exits stand: after 11 and 64 % of the work."""

EXIT_FORMS = ((16, (32, 32, 32, 64, 64, 64), True), (64, (64,), False))
"""Channels, blocks, and whether channels are mixed first: 20 and 3 % of the network's work."""

BEGUN_WITH = 20
"""Depth of the ResNet whose second and third stage the first head began with; its weights are
stored as differences from those."""

CLASSES = 10
EXIT_WEIGHTS = Path(__file__).parent / "trained" / "exits.npz"


def resnet56() -> nn.Module:
    """Return the pretrained ResNet-56 (see `pretrained`)."""
    return pretrained(56)


def resnet44() -> nn.Module:
    """Return the pretrained ResNet-44 (see `pretrained`)."""
    return pretrained(44)


def resnet32() -> nn.Module:
    """Return the pretrained ResNet-32 (see `pretrained`)."""
    return pretrained(32)


def resnet20() -> nn.Module:
    """Return the pretrained ResNet-20 (see `pretrained`)."""
    return pretrained(20)


def teachers() -> nn.Module:
    """Return all four pretrained networks, which teach together."""
    return nn.ModuleList(pretrained(depth) for depth in (56, 44, 32, 20))


def pretrained(depth: int) -> nn.Module:
    """Return a pretrained ResNet (He et al. 2015, arXiv 1512.03385, section 4.2).

    Parameters
    ----------
    depth
        20, 32, 44 or 56.

    Raises
    ------
    ConfigError
        ``SPLITNET_DATA`` does not name a folder with ``models.py`` in it.
    """
    folder = os.environ.get("SPLITNET_DATA")
    if not folder:
        raise ConfigError("set SPLITNET_DATA to the folder that holds models.py and weights/")
    source = Path(folder) / "models.py"
    if not source.is_file():
        raise ConfigError(f"SPLITNET_DATA={folder} holds no models.py")
    spec = importlib.util.spec_from_file_location("splitnet_test_models", source)
    assert spec is not None and spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    network: nn.Module = models.cifar_resnet(depth)
    return network


def new_exits() -> nn.ModuleList:
    """Return the exit heads as their training began."""
    found = nn.ModuleList(
        ResidualHead(channels, CLASSES, widths, adapted) for channels, widths, adapted in EXIT_FORMS
    )
    small = pretrained(BEGUN_WITH).state_dict()
    begun = found[0].state_dict()
    for name in begun:
        begun[name] = small.get(_name_in_small(name), torch.zeros_like(begun[name]))
    found[0].load_state_dict(begun)
    return found


def exits() -> nn.ModuleList:
    """Return the trained exit heads, whose weights are stored as float16."""
    found = new_exits()
    with EXIT_WEIGHTS.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        weights = {name: torch.from_numpy(stored[name].astype(np.float32)) for name in stored.files}
    state = found.state_dict()
    for name, value in weights.items():
        state[name] = state[name] + value if name.startswith("0.") else value
    found.load_state_dict(state)
    return found.eval()


def little_exit() -> nn.ModuleList:
    """Return ResNet-20 as it is, as an exit at the input (Park et al., CODES+ISSS 2015)."""
    return nn.ModuleList([pretrained(BEGUN_WITH)])


def _name_in_small(name: str) -> str:
    """Return what a weight of the first head is called in the small network."""
    first, _, rest = name.partition(".")
    if first == "classes":
        return f"linear.{rest}"
    number, _, rest = rest.partition(".")
    return f"layer{2 + int(number) // 3}.{int(number) % 3}.{rest}" if first == "blocks" else ""
