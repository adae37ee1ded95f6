"""How much accuracy do 3 and 2 bits cost at layer2 of ResNet-56? All 4,800 test images.

Ranges and levels are fitted to 3,000 training images. The difference to float32 is given with its
paired 95 % interval; the answers of the same images are compared. The figure that counts is that of
the rule with the least squared error on the training images; all others stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from activations import shared_models
from numpy.typing import NDArray
from paired import paired_change

from splitnet.codecs import Codec, header_of, make_codec
from splitnet.codecs.calibrating import calibrate

TRAINING_IMAGES = 3000
TARGET_POINTS = {3: -0.1, 2: -0.5}
_BATCH = 400

RULES: list[dict[str, Any]] = [
    {"id": "affine", "clip": "min-max"},
    {"id": "affine", "clip": "percentile"},
    {"id": "affine", "clip": "aciq"},
    {"id": "affine", "clip": "mse"},
    {"id": "affine", "clip": "mse", "per_channel": True},
    {"id": "codebook"},
    {"id": "codebook", "per_channel": True},
]

Answers = NDArray[np.int64]


def accuracy_rows() -> list[dict[str, Any]]:
    """Return one row for each width and rule."""
    features, answer, truth, training = _network()
    right = answer(features) == truth
    rows: list[dict[str, Any]] = [{"bits": 32, "accuracy": _points(right)}]
    for bits in TARGET_POINTS:
        for rule in RULES:
            codec = make_codec(calibrate({**rule, "bits": bits}, [training]).config)
            found = answer(_again(codec, features)) == truth
            squares = np.square(_again(codec, training) - training).mean()
            change = paired_change(found, right)
            rows.append(
                {
                    "bits": bits,
                    **rule,
                    "training_error": float(squares / training.var()),
                    "accuracy": _points(found),
                    "change_points": change.points,
                    "interval_points": change.interval,
                    "target_points": TARGET_POINTS[bits],
                }
            )
    return rows


def accuracy_targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each width what the rule costs that has the least error on training images."""
    found = []
    for bits, limit in TARGET_POINTS.items():
        own = [row for row in rows if row["bits"] == bits]
        row = min(own, key=lambda row: float(row["training_error"]))
        rule = {key: row[key] for key in ("id", "clip", "per_channel") if key in row}
        found.append(
            {
                "what": f"{bits} bits at layer2 of ResNet-56, {rule}: points of change",
                "at_least": limit,
                "found": row["change_points"],
                "met": row["change_points"] >= limit,
            }
        )
    return found


def _network() -> tuple[NDArray[np.float32], Callable[[Any], Answers], Answers, Any]:
    """Return test activations, the network behind them, the truth, and training activations."""
    import torch

    data = shared_models()
    network = data.cifar_resnet(56)

    def head(images: Any) -> NDArray[np.float32]:
        x = torch.relu(network.bn1(network.conv1(data.cifar_input(images))))
        found: NDArray[np.float32] = network.layer2(network.layer1(x)).numpy()
        return found

    def answer(features: NDArray[np.float32]) -> Answers:
        with torch.inference_mode():
            return np.concatenate(
                [
                    network.linear(network.layer3(torch.from_numpy(part)).mean((2, 3))).argmax(1)
                    for part in np.split(features, range(_BATCH, len(features), _BATCH))
                ]
            )

    images, truth = data.cifar10("test")
    training = data.cifar10("train_0")[0][:TRAINING_IMAGES]
    with torch.inference_mode():
        parts = [
            np.concatenate([head(part) for part in np.split(x, range(_BATCH, len(x), _BATCH))])
            for x in (images, training)
        ]
    return parts[0], answer, truth, parts[1]


def _again(codec: Codec, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what arrives of `array`."""
    return codec.decode(codec.encode(array), header_of(array))


def _points(right: NDArray[np.bool_]) -> float:
    return 100 * float(right.mean())
