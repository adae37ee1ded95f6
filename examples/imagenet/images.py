"""Writes the images of MobileNetV2's learned path as arrays of 224 x 224 pixels.

    SPLITNET_DATA=... python examples/imagenet/images.py out/imagenet

``training.npz`` and ``calib.npz`` hold random squares of ImageNet samples, COCO images and frames
of a film, without labels; ``test.npz`` the 800 validation images, of which nothing is trained.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, SHORT = 224, 256
SQUARES = 6
"""Of each image."""

CALIBRATION = 120
"""Squares of the last images, which the training does not see."""

FRAMES = 20
"""Every so many frames of the film, whose frames are alike."""


def main() -> int:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ["SPLITNET_DATA"])
    sources = [
        *sorted((data / "video_vot15_bag").glob("*.jpg"))[::FRAMES],
        *sorted((data / "coco_val128" / "images").glob("*.jpg")),
        *sorted((data / "imagenet" / "sample40_original").glob("*.JPEG")),
    ]
    rng = np.random.default_rng(0)
    squares = np.stack([_square(file, rng) for file in sources for _ in range(SQUARES)])
    np.savez(out / "training.npz", x=squares[:-CALIBRATION])
    np.savez(out / "calib.npz", x=squares[-CALIBRATION:])
    with (data / "imagenet" / "val800_labels.csv").open() as rows:
        found = [(row["file"], int(row["label"])) for row in csv.DictReader(rows)]
    images = [_centre(data / "imagenet" / "val800_227" / name) for name, _ in found]
    np.savez(out / "test.npz", x=np.stack(images), y=np.array([label for _, label in found]))
    return 0


def _square(file: Path, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a random square of at least a third of the image's shorter side."""
    image = Image.open(file).convert("RGB")
    side = int(min(image.size) * rng.uniform(0.35, 1))
    left, top = (int(rng.integers(0, size - side + 1)) for size in image.size)
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box))


def _centre(file: Path) -> NDArray[np.uint8]:
    """Return the centre of an image whose shorter side was brought to 256 pixels."""
    image = Image.open(file).convert("RGB")
    scale = SHORT / min(image.size)
    width, height = (round(size * scale) for size in image.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)))


if __name__ == "__main__":
    sys.exit(main())
