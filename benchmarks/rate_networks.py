"""The networks that the rate-accuracy benchmark asks, with weights of the shared test data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from activations import MOBILENET, RESNET, shared_models
from numpy.typing import NDArray
from rate_points import Answers, Features, Judge, Pixels, classes_of
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

LAYERS = ("layer1", "layer2", "layer3")
FITTING_IMAGES = 512
"""Training images to which ranges, levels and tables of activations are fitted."""

TAIL = "tail."
"""Of the weights of a student, those of the network behind its decoder."""

MOBILENET_SIDE = 224
_BATCH = {RESNET: 200, MOBILENET: 25}


@dataclass(frozen=True, slots=True, eq=False)
class Cifar:
    """ResNet-56 and images of CIFAR-10; `network` is the whole model as it is."""

    network: Any
    images: NDArray[np.uint8]
    truth: Answers
    training: NDArray[np.uint8]
    key: str

    def judge(self, weights: Path | None = None) -> Judge:
        """Return the network as a training left it in this file, or as it is."""
        network, key = self.network, "as is"
        if weights is not None:
            network, key = shared_models().cifar_resnet(56), _digest(weights.read_bytes())
            state = {
                name.removeprefix(TAIL): value
                for name, value in load_file(weights).items()
                if name.startswith(TAIL)
            }
            network.load_state_dict(state)
        network = network.eval()

        def logits(images: Sequence[Pixels]) -> Features:
            inputs = shared_models().cifar_input(np.stack(images))
            return _outputs(network, inputs, _BATCH[RESNET])

        return Judge(f"{self.key} {key}", list(self.images), self.truth, logits)

    def features(self, layer: str) -> Callable[[], tuple[Features, Features]]:
        """Return a function that gives the output of `layer` for training and test images."""
        found: list[Features] = []
        head = self._head(layer)

        def both() -> tuple[Features, Features]:
            if not found:
                for images in (self.training, self.images):
                    inputs = shared_models().cifar_input(images)
                    found.append(_outputs(head, inputs, _BATCH[RESNET]))
            return found[0], found[1]

        return both

    def device_share(self, layer: str) -> float:
        """Return the share of the network's operations that are in front of what `layer` gives."""
        image = shared_models().cifar_input(self.images[:1])
        with torch.inference_mode(), FlopCounterMode(display=False) as all_of_it:
            self.network(image)
        with torch.inference_mode(), FlopCounterMode(display=False) as head:
            self._head(layer)(image)
        return float(head.get_total_flops() / all_of_it.get_total_flops())

    def tail(self, layer: str) -> Callable[[Features], Answers]:
        """Return a function that gives the classes of outputs of `layer`."""

        def rest(x: Tensor) -> Tensor:
            for name in LAYERS[LAYERS.index(layer) + 1 :]:
                x = self.network.get_submodule(name)(x)
            found: Tensor = self.network.linear(x.mean((2, 3)))
            return found

        return lambda arrived: classes_of(_outputs(rest, torch.from_numpy(arrived), _BATCH[RESNET]))

    def _head(self, layer: str) -> Callable[[Tensor], Tensor]:
        def head(x: Tensor) -> Tensor:
            x = torch.relu(self.network.bn1(self.network.conv1(x)))
            for name in LAYERS[: LAYERS.index(layer) + 1]:
                x = self.network.get_submodule(name)(x)
            return x

        return head


def cifar(count: int | None = None) -> Cifar:
    """Return ResNet-56 with `count` test images, all for ``None``."""
    data = shared_models()
    images, truth = data.cifar10("test")
    images, truth = images[:count], truth[:count]
    training = data.cifar10("train_0")[0][:FITTING_IMAGES]
    return Cifar(data.cifar_resnet(56), images, truth, training, _digest(images.tobytes()))


def mobilenet(count: int | None = None) -> Judge:
    """Return MobileNetV2 with `count` validation images of 224 x 224 pixels."""
    data = shared_models()
    files = data.imagenet_val()[:count]
    network = data.mobilenet("mobilenet_v2_1.0_224")
    floats = [data.imagenet_input(file, MOBILENET_SIDE).transpose(1, 2, 0) for file, _ in files]
    images = [np.rint((image + 1) * 127.5).astype(np.uint8) for image in floats]

    def logits(arrived: Sequence[Pixels]) -> Features:
        inputs = np.stack(arrived).astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
        return _outputs(network, torch.from_numpy(inputs), _BATCH[MOBILENET])

    key = f"{MOBILENET} {_digest(b''.join(image.tobytes() for image in images))}"
    return Judge(key, images, np.array([label for _, label in files], np.int64), logits)


def _outputs(network: Callable[[Tensor], Tensor], inputs: Tensor, batch: int) -> Features:
    with torch.inference_mode():
        parts = [network(part).numpy() for part in torch.split(inputs, batch)]
    return np.concatenate(parts)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
