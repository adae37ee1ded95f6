r"""Fine-tunes ResNet-56 on images that went through WebP or JPEG: a baseline with care.

It starts from the whole model's weights and learns what the mean of ResNet-20, 32, 44 and 56
answers to the clean image (Hinton et al. 2015, arXiv 1503.02531), on images that are mirrored,
shifted and mixed before they are compressed. One network for a range of qualities, or, with
``--from``, one that goes on at a single quality. A second file, ``...-averaged``, holds weights
between the whole model's and the learned ones.

    SPLITNET_DATA=... python benchmarks/fine_tune_images.py webp --qualities 45 92 --epochs 6 \
        --out out/fine_tuned/webp.safetensors

An epoch of 27,000 images takes some 3 minutes on a core with bfloat16. The last 3,000 training
images are held out; the networks have seen them before, so that their accuracy shows progress only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from activations import shared_models
from numpy.typing import NDArray
from rate_points import IMAGES, Pixels
from results import parser, report
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from splitnet.codecs import header_of, make_codec
from splitnet.training.recipe import divergence
from splitnet.training.views import Data, Views

TRAINING_IMAGES = 27_000
TEACHERS = (20, 32, 44, 56)
TEMPERATURE = 2.0
BATCH = 64
WARM_UP_STEPS = 100
MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4
VIEWS = Views(flip=True, shift=4, mix=0.5, count=8)


@dataclass(frozen=True, slots=True, eq=False)
class Batchwise:
    """Networks that answer with the mean of their logits."""

    networks: Sequence[nn.Module]

    def __call__(self, pixels: Pixels) -> Tensor:
        """Return the logits ``(N, 10)`` for pixels ``(N, H, W, 3)``."""
        found = []
        with torch.inference_mode():
            for network in self.networks:
                network.eval()
                found.append(torch.cat([_logits(network, part) for part in _parts(pixels)]))
        return torch.stack(found).mean(0)


class Compressor:
    """Sends images through a codec at qualities that are drawn, or at one."""

    def __init__(self, codec: str, low: int, high: int) -> None:
        self._codecs = [
            make_codec({**IMAGES[codec], "quality": quality}) for quality in range(low, high + 1)
        ]

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return what arrives of images ``(N, H, W, 3)``."""
        arrived = np.empty_like(pixels)
        for i, number in enumerate(rng.integers(0, len(self._codecs), len(pixels))):
            codec, header = self._codecs[number], header_of(pixels[i])
            arrived[i] = codec.decode(codec.encode(pixels[i]), header)
        return arrived


def main() -> int:
    """Train, write the weights and print each epoch."""
    options = parser("Fine-tune ResNet-56 on compressed images.")
    options.add_argument("codec", choices=sorted(IMAGES))
    options.add_argument("--qualities", nargs=2, type=int, default=(45, 92), metavar=("LOW", "UP"))
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--rate", type=float, default=0.01, help="highest learning rate")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--from", dest="start", type=Path, help="weights to go on from")
    options.add_argument(
        "--share",
        type=float,
        default=0.5,
        help="share of what was learned in the weights; the rest is the whole model's",
    )
    options.add_argument("--out", type=Path, required=True, help="file for the weights")
    chosen = options.parse_args()
    torch.manual_seed(chosen.seed)
    torch.set_num_threads(1)
    shared = shared_models()
    student = shared.cifar_resnet(56)
    if chosen.start:
        student.load_state_dict(load_file(chosen.start), strict=False)
    teacher = Batchwise([_fast(shared.cifar_resnet(depth)) for depth in TEACHERS])
    compress = Compressor(chosen.codec, *chosen.qualities)
    epochs = train(_fast(student), teacher, compress, chosen.epochs, chosen.rate, chosen.seed)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    for file, share in ((chosen.out, 1.0), (_averaged(chosen.out), chosen.share)):
        save_file(blend(shared.cifar_resnet(56).state_dict(), student.state_dict(), share), file)
    settings = {key: str(value) for key, value in vars(chosen).items()}
    report("fine_tune_images", {"settings": settings, "epochs": epochs}, chosen.json)
    return 0


def train(
    student: nn.Module,
    teacher: Callable[[Pixels], Tensor],
    compress: Compressor,
    epochs: int,
    rate: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the loss and the accuracy on held-out images of each epoch; `student` has learned."""
    images, truth = shared_models().cifar10("train")
    rng = np.random.default_rng(seed)
    held = compress(images[TRAINING_IMAGES:], rng)
    data = Data(TRAINING_IMAGES, lambda rows: _floats(images[rows]), None, "")
    optimiser = torch.optim.SGD(
        student.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    steps = TRAINING_IMAGES // BATCH
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: _warm(step) * (1 + np.cos(np.pi * step / (steps * epochs))) / 2
    )
    found = []
    for epoch in range(epochs):
        began_s, total = time.monotonic(), 0.0
        for rows in _batches(rng):
            clean = _pixels(VIEWS.inputs(data, VIEWS.number(epoch), rows))
            target = teacher(clean)
            student.train()
            answered = _logits(student, compress(clean, rng))
            loss = divergence(answered, target, TEMPERATURE)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
            if not np.isfinite(total):
                raise SystemExit("the loss is not finite; take a lower --rate")
        right = Batchwise([student])(held).argmax(1).numpy() == truth[TRAINING_IMAGES:]
        row = {"epoch": epoch + 1, "loss": total / steps, "held_out": float(right.mean())}
        found.append({**row, "seconds": time.monotonic() - began_s})
    return found


def blend(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Return weights between those before and after fine-tuning.

    They often answer better than either (Wortsman et al. 2022, arXiv 2109.01903).
    """
    return {
        name: torch.lerp(before[name], value, share).contiguous()
        for name, value in after.items()
        if value.is_floating_point()
    }


def _averaged(file: Path) -> Path:
    return file.with_stem(f"{file.stem}-averaged")


def _warm(step: int) -> float:
    return min(1.0, (step + 1) / WARM_UP_STEPS)


def _batches(rng: np.random.Generator) -> list[NDArray[np.int64]]:
    order = rng.permutation(TRAINING_IMAGES)
    return list(order[: len(order) // BATCH * BATCH].reshape(-1, BATCH))


def _fast(network: Any) -> Any:
    return network.to(memory_format=torch.channels_last)


def _logits(network: nn.Module, pixels: Pixels) -> Tensor:
    inputs = shared_models().cifar_input(pixels).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found: Tensor = network(inputs)
    return found.float()


def _parts(pixels: Pixels) -> list[Pixels]:
    return np.split(pixels, range(BATCH, len(pixels), BATCH))


def _floats(pixels: Pixels) -> NDArray[np.float32]:
    return pixels.transpose(0, 3, 1, 2).astype(np.float32)


def _pixels(images: Tensor) -> Pixels:
    return np.ascontiguousarray(images.round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


if __name__ == "__main__":
    sys.exit(main())
