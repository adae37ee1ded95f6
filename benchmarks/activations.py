"""Real activations for the benchmarks of the codecs, computed once and kept under ``out``.

ResNet-56 (CIFAR-10) and MobileNetV2 (ImageNet) at several cuts, with the weights and images of the
folder that ``SPLITNET_DATA`` names. Calibration and test come from different images: for ResNet-56
from training and test split, for MobileNetV2 from two parts of the validation images.

    SPLITNET_DATA=... python benchmarks/activations.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import shared_data

FOLDER = Path("out/activations")
RESNET, MOBILENET = "resnet56", "mobilenetv2"

CUTS = {
    RESNET: ("layer1.4", "layer1.8", "layer2.4", "layer2.8", "layer3.4", "layer3.8"),
    MOBILENET: ("conv9", "conv18", "conv30", "conv39", "conv48"),
}
"""ResNet-56: outputs of residual blocks. MobileNetV2: inputs of the expanding convolutions, which
are the outputs of the inverted residual blocks in front of them."""

IMAGES = {RESNET: (256, 64), MOBILENET: (96, 32)}
"""How many images are for calibration and how many for test."""

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Activations:
    """What crosses one cut, one row for each image.

    Attributes
    ----------
    calibration, test
        float32 ``(N, C, H, W)``.
    """

    model: str
    cut: str
    calibration: NDArray[np.float32]
    test: NDArray[np.float32]

    @property
    def name(self) -> str:
        """Model and cut in one word."""
        return f"{self.model}/{self.cut}"


def load_activations(folder: Path = FOLDER) -> list[Activations]:
    """Return the activations of every cut of both models, from `folder` if they are there."""
    found = []
    for model, cuts in CUTS.items():
        missing = [cut for cut in cuts if not _file(folder, model, cut).exists()]
        if missing:
            _extract(folder, model, missing)
        for cut in cuts:
            with np.load(_file(folder, model, cut)) as arrays:
                found.append(Activations(model, cut, arrays["calibration"], arrays["test"]))
    return found


def _file(folder: Path, model: str, cut: str) -> Path:
    return folder / f"{model}-{cut}.npz"


def _extract(folder: Path, model: str, cuts: list[str]) -> None:
    import torch

    data = shared_models()
    network, inputs = (_resnet if model == RESNET else _mobilenet)(data)
    caught: dict[str, list[NDArray[np.float32]]] = {cut: [] for cut in cuts}
    for cut in cuts:
        layer = network.get_submodule(cut)
        if model == RESNET:
            layer.register_forward_hook(lambda _l, _i, y, cut=cut: caught[cut].append(y.numpy()))
        else:
            layer.register_forward_pre_hook(lambda _l, x, cut=cut: caught[cut].append(x[0].numpy()))
    with torch.inference_mode():
        for start in range(0, len(inputs), _BATCH):
            network(torch.from_numpy(inputs[start : start + _BATCH]))
    folder.mkdir(parents=True, exist_ok=True)
    split = IMAGES[model][0]
    for cut, parts in caught.items():
        rows = np.concatenate(parts)
        np.savez(_file(folder, model, cut), calibration=rows[:split], test=rows[split:])


def _resnet(data: Any) -> tuple[Any, NDArray[np.float32]]:
    calibration, test = IMAGES[RESNET]
    images = [data.cifar10("train_0")[0][:calibration], data.cifar10("test")[0][:test]]
    return data.cifar_resnet(56), data.cifar_input(np.concatenate(images)).numpy()


def _mobilenet(data: Any) -> tuple[Any, NDArray[np.float32]]:
    files = [file for file, _ in data.imagenet_val()[: sum(IMAGES[MOBILENET])]]
    read: Callable[[Path, int], NDArray[np.float32]] = data.imagenet_input
    return data.mobilenet("mobilenet_v2_1.0_224"), np.stack([read(file, 224) for file in files])


def shared_models() -> Any:
    """Return the module beside the data that builds the networks and reads the images."""
    sys.path.insert(0, str(shared_data()))
    return import_module("models")


def main() -> None:
    """Extract what is missing and print the shapes."""
    for entry in load_activations():
        print(f"{entry.name:24} calibration {entry.calibration.shape} test {entry.test.shape}")


if __name__ == "__main__":
    main()
