r"""Bytes against accuracy: learned paths beside images as files and activations in few bits.

ResNet-56 on the test images of CIFAR-10. Every change stands beside its paired 95 % interval
against the whole model on the same images; payloads are those that the codecs send, with their
headers. An activation of layer3 is the work of nearly the whole network: its share of the
operations stands beside it as ``device_share``.

    SPLITNET_DATA=... python benchmarks/rate_accuracy.py --json out/rate_accuracy.json \
        --picture out/rate_accuracy.png --fine-tuned out/cifar10/webp --learned out/cifar10/bundle

``--fine-tuned`` names results of the recipe ``image-codec``: they are asked at all qualities, and
the better of several counts at each, which favours the baseline. ``--small`` takes minutes,
``--mobilenet`` adds MobileNetV2. Points are kept under ``--keep``, so that a second run with
another learned path is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rate_curves import Curve, Point, Right, bytes_at, compare, own_front, rows_of
from rate_learned import Learned, read_learned
from rate_networks import LAYERS, Cifar, cifar, mobilenet
from rate_points import (
    IMAGES,
    Judge,
    Kept,
    activation_curve,
    container_bytes,
    image_curve,
    resent_curve,
    without_container,
)
from results import parser, report, run

from splitnet.training.results import WEIGHTS, Folder

LOSS_POINTS = (-0.5, -1.0, -1.5, -2.0)
"""Losses at which the bytes of every curve are read."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes
    ----------
    images, imagenet
        Test images of either network, ``None`` for all.
    """

    images: int | None
    imagenet: int | None
    qualities: Sequence[int]
    widths: Sequence[int]


QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 98)
RESENT = ((10, 70), (20, 85), (30, 95))
"""Qualities at which an image is sent one after the other until the answer is sure enough."""

FULL = Size(None, None, QUALITIES, (8, 4, 3, 2))
SMALL = Size(400, 50, (40, 70, 85, 95), (8, 4, 2))


def main() -> int:
    """Measure, print and write."""
    options = parser("Bytes against accuracy of learned paths and of their baselines.")
    options.add_argument("--small", action="store_true", help="few images and settings: minutes")
    options.add_argument("--picture", type=Path, metavar="PNG", help="draw the curves")
    options.add_argument(
        "--fine-tuned",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="results of the recipe image-codec",
    )
    options.add_argument(
        "--learned",
        action="append",
        default=[],
        metavar="[NAME=]PLACE[@ROW]",
        help="a bundle, results of splitnet train, or an .npz; ROW: test image with which its "
        "test data began",
    )
    options.add_argument("--mobilenet", action="store_true", help="MobileNetV2, too")
    options.add_argument("--keep", type=Path, default=Path("out/rate_accuracy"), metavar="FOLDER")
    chosen = options.parse_args()
    size, kept = SMALL if chosen.small else FULL, Kept(chosen.keep)
    model = cifar(size.images)
    learned = [one for text in chosen.learned for one in read_learned(text, len(model.images))]
    whole = _whole(model.judge(), kept)
    curves, skipped = _baselines(model, size, kept, chosen.fine_tuned)
    figures: dict[str, Any] = {
        "images": len(whole),
        "whole_accuracy": round(100 * float(whole.mean()), 3),
        "container_bytes": {codec: container_bytes(codec, (32, 32, 3)) for codec in IMAGES},
        "device_share": {layer: round(model.device_share(layer), 4) for layer in LAYERS},
        "rows": [row for curve in curves for row in rows_of(curve, whole)]
        + [row for one in learned for row in rows_of(one.curve, whole[one.rows])],
        "bytes_at_loss": [_at_losses(curve, whole) for curve in curves]
        + [_at_losses(one.curve, whole[one.rows]) for one in learned],
        "bd_rate": [_compared(one, curve, whole) for one in learned for curve in curves],
        "skipped": skipped + ([] if learned else ["learned paths: none given with --learned"]),
    }
    if chosen.mobilenet:
        figures["mobilenet"] = _mobilenet(size, kept)
    if chosen.picture:
        from rate_picture import draw

        groups = [(curve, whole) for curve in curves]
        groups += [(one.curve, whole[one.rows]) for one in learned]
        draw("ResNet-56 on CIFAR-10", groups, chosen.picture)
    report("rate_accuracy", figures, chosen.json)
    return 0


def _whole(judge: Judge, kept: Kept) -> Right:
    """Return what the network answers to the images themselves."""

    def measure() -> tuple[Any, Any]:
        sizes = np.array([image.nbytes for image in judge.images])
        return judge.answer(judge.images) == judge.truth, sizes

    return kept.point("whole", judge.key, measure).right


def _baselines(
    model: Cifar, size: Size, kept: Kept, fine_tuned: Sequence[Path]
) -> tuple[list[Curve], list[str]]:
    """Return the curves, and why others are not there."""
    curves, skipped = [], []
    for codec in IMAGES:
        own = [image_curve(f"{codec} as is", codec, size.qualities, model.judge(), kept)]
        judges = {
            each.name: model.judge(each / WEIGHTS)
            for each in fine_tuned
            if Folder(each).results().config["codec"] == codec
        }
        tuned = [
            image_curve(name, codec, size.qualities, judge, kept) for name, judge in judges.items()
        ]
        if tuned:
            own.append(_better(f"{codec} fine-tuned", tuned))
            curves += [
                resent_curve(f"{codec} fine-tuned ({name}), resent", codec, RESENT, judge, kept)
                for name, judge in judges.items()
            ]
        else:
            skipped.append(f"{codec} fine-tuned: no --fine-tuned with {codec}")
        for curve in own:
            curves += [curve, without_container(curve, codec, list(model.images))]
    for layer in LAYERS:
        features, tail = model.features(layer), model.tail(layer)
        curves.append(activation_curve(layer, size.widths, features, tail, model.judge(), kept))
    return curves, skipped


def _better(name: str, curves: Sequence[Curve]) -> Curve:
    """Return for each setting the point of the network that answers best."""
    points = []
    for same in zip(*(curve.points for curve in curves), strict=True):
        best = max(range(len(same)), key=lambda i: int(same[i].right.sum()))
        named = f"{same[best].name}, {curves[best].name}"
        points.append(Point(named, same[best].right, same[best].nbytes))
    return Curve(name, tuple(points))


def _at_losses(curve: Curve, whole: Right) -> dict[str, Any]:
    found = own_front(curve, whole)
    row: dict[str, Any] = {"curve": curve.name}
    for loss in LOSS_POINTS:
        nbytes = bytes_at(found, loss)
        row[f"{loss:g}"] = None if np.isnan(nbytes) else round(nbytes, 1)
    row["range_points"] = [round(accuracy, 3) for _, accuracy in (found[0], found[-1])]
    row["range_bytes"] = [round(nbytes, 1) for nbytes, _ in (found[0], found[-1])]
    return row


def _compared(one: Learned, curve: Curve, whole: Right) -> dict[str, Any]:
    rate = compare(one.curve, curve.at(one.rows), whole[one.rows])
    row: dict[str, Any] = {"curve": one.curve.name, "against": curve.name}
    if rate.reason:
        return {**row, "change": None, "reason": rate.reason}
    bounds = [None if np.isnan(bound) else round(bound, 4) for bound in (rate.low, rate.high)]
    overlap = [round(rate.worst, 3), round(rate.best, 3)]
    return {**row, "change": round(rate.change, 4), "interval": bounds, "range_points": overlap}


def _mobilenet(size: Size, kept: Kept) -> dict[str, Any]:
    judge = mobilenet(size.imagenet)
    whole = _whole(judge, kept)
    curves = [image_curve(f"{codec} as is", codec, size.qualities, judge, kept) for codec in IMAGES]
    return {
        "images": len(whole),
        "whole_accuracy": round(100 * float(whole.mean()), 3),
        "rows": [row for curve in curves for row in rows_of(curve, whole)],
        "bytes_at_loss": [_at_losses(curve, whole) for curve in curves],
    }


if __name__ == "__main__":
    run(main)
