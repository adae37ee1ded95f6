"""Recipes of seconds for ``networks.py:stages``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NETWORKS = Path(__file__).parent / "builder" / "networks.py"

ENTROPIC = """
[entropic]
channels = [1, 2, 4]
encoder_widths = [8, 8]
decoder_widths = [16, 8, 8]
rate = 1e-2
tail_rate = 1e-3
feature_epochs = 3
joint_epochs = 8
decoder_epochs = 1
"""

BLOCKS = """
[entropic]
channels = [2, 4, 8]
encoder_widths = [8, 8]
decoder_widths = [16, 8, 8]
block_step = 0.1
matched = ["stage1"]
feature_epochs = 1
joint_epochs = 2
decoder_epochs = 1
"""

AUTOENCODER = """
[autoencoder]
epochs = 3
"""

IMAGE_CODEC = """
[image-codec]
codec = "jpeg"
qualities = [5, 60]
epochs = 2
"""


def write_images(file: Path, count: int = 200, seed: int = 0) -> Path:
    """Write images of three classes: a class is a colour."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    x = rng.integers(0, 80, (count, 16, 16, 3), np.uint8)
    x[np.arange(count), :, :, y] += 120
    np.savez(file, x=x, y=y)
    return file


def write_recipe(file: Path, images: Path, name: str, table: str, /, **settings: object) -> Path:
    """Write a recipe's file; `settings` are further ones of its table ``[train]``."""
    given = {"recipe": name, "model": f"{NETWORKS}:stages", "data": str(images), "batch": 16}
    lines = [f"{key} = {value!r}" for key, value in (given | settings).items()]
    file.write_text("\n".join(["[train]", *lines]).replace("True", "true") + "\n" + table)
    return file
