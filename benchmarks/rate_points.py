"""The points of baselines: images as files, and activations in few bits without any training.

Points are kept in a folder under all that they depend on, so that a second run is quick. Every
payload is the one that the codec sends, with its header, and what is answered is its decoding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rate_curves import Curve, Point
from rate_stops import Stage, stops_curve

from splitnet.codecs import Array, header_of, make_codec
from splitnet.codecs.calibrating import Calibrated, calibrate
from splitnet.codecs.images import Jpeg
from splitnet.runtime.answers import load_confidence
from splitnet.training.image_codec import EFFORT

Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]
Answers = NDArray[np.int64]

IMAGES: Mapping[str, Mapping[str, Any]] = {
    codec: {"id": codec, **options} for codec, options in sorted(EFFORT.items())
}
"""The codecs of images, with the greatest effort that they offer."""

FLAT_QUALITY, MIDDLE_GREY = 75, 128
CODERS = ({"id": "rans-neighbours"}, {"id": "rans", "per_channel": True})
"""What codes the symbols of activations: whichever takes fewer bytes for training images."""

MOST_CODEBOOK_BITS = 3
"""Above these, a fitted codebook gains nothing over even steps."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder of points that were measured before."""

    folder: Path

    def point(self, name: str, key: object, measure: Callable[[], tuple[Any, Any]]) -> Point:
        """Return the point of `key`; `measure` says what was right and the bytes."""

        def arrays() -> dict[str, Any]:
            return dict(zip(("right", "nbytes"), measure(), strict=True))

        return Point(name, **self.arrays(name, key, arrays))

    def arrays(
        self, name: str, key: object, measure: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return what `measure` found for `key`, by name."""
        text = json.dumps([name, key], sort_keys=True)
        file = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        if file.exists():
            with np.load(file) as kept:
                return dict(kept)
        found = measure()
        self.folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, **found)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """A network, and the images by which it is judged.

    Attributes
    ----------
    key
        What names its weights and the images.
    truth
        int64 ``(S,)``.
    logits
        Returns the network's answers ``(S, classes)`` to images.
    """

    key: str
    images: Sequence[Pixels]
    truth: Answers
    logits: Callable[[Sequence[Pixels]], Features]

    def answer(self, images: Sequence[Pixels]) -> Answers:
        """Return the classes ``(S,)`` of images."""
        return classes_of(self.logits(images))


def classes_of(logits: Features) -> Answers:
    """Return the most likely classes ``(S,)``."""
    return np.asarray(logits.argmax(1), np.int64)


def resent_curve(
    name: str, codec: str, chains: Sequence[Sequence[int]], judge: Judge, kept: Kept
) -> Curve:
    """Return what is answered if an image goes again, at the next quality, where that is unsure.

    A file cannot be refined, so that each of them is sent in full.
    """
    points: list[Point] = []
    for qualities in chains:
        stages, sent = [], np.zeros(len(judge.images), np.int64)
        for quality in qualities:
            stage = _image_stage(codec, quality, judge, kept)
            sent = sent + stage.nbytes
            stages.append(Stage(stage.right, stage.confidence, sent))
        text = " then ".join(map(str, qualities))
        found = stops_curve(name, stages).points
        points += [Point(f"quality {text}, {p.name}", p.right, p.nbytes) for p in found]
    return Curve(name, tuple(points))


def _image_stage(codec: str, quality: int, judge: Judge, kept: Kept) -> Stage:
    """Return the answers to images at one quality, and how sure they are."""
    config = {**IMAGES[codec], "quality": quality}

    def measure() -> dict[str, Any]:
        sizes, arrived = _there_and_back(Calibrated(dict(config)), judge.images)
        logits = judge.logits(arrived)
        confidence = load_confidence("max-softmax")(logits, 1.0).astype(np.float32)
        right = classes_of(logits) == judge.truth
        return {"right": right, "confidence": confidence, "nbytes": sizes}

    return Stage(**kept.arrays(f"quality {quality}, how sure", [config, judge.key], measure))


def image_curve(name: str, codec: str, qualities: Sequence[int], judge: Judge, kept: Kept) -> Curve:
    """Return what `judge` says to images that went through `codec` at each quality."""

    def measure(config: Mapping[str, Any]) -> tuple[Any, Any]:
        sizes, arrived = _there_and_back(Calibrated(dict(config)), judge.images)
        return judge.answer(arrived) == judge.truth, sizes

    points = []
    for quality in qualities:
        config = {**IMAGES[codec], "quality": quality}
        key = [config, judge.key]
        points.append(kept.point(f"quality {quality}", key, partial(measure, config)))
    return Curve(name, tuple(points))


def container_bytes(codec: str, shape: tuple[int, ...]) -> int:
    """Return what an image takes in which there is nothing to see, with tables that all share."""
    return _shared_size(codec, FLAT_QUALITY, np.full(shape, MIDDLE_GREY, np.uint8))


def without_container(curve: Curve, codec: str, images: Sequence[Pixels]) -> Curve:
    """Return a curve of `image_curve` with what is left if the receiver knows the container.

    A JPEG then has the tables of the standard (ITU-T T.81, annex K) instead of its own; its pixels
    stay as they are.
    """
    fixed = container_bytes(codec, images[0].shape)
    points = []
    for point in curve.points:
        quality = int(point.name.split()[1].rstrip(","))
        shared = [_shared_size(codec, quality, image) for image in images]
        points.append(Point(point.name, point.right, np.array(shared, np.int64) - fixed))
    return Curve(f"{curve.name}, without container", tuple(points))


def _shared_size(codec: str, quality: int, image: Pixels) -> int:
    made = make_codec({**IMAGES[codec], "quality": quality})
    if not isinstance(made, Jpeg):
        return len(made.encode(image))
    file = BytesIO()
    Image.fromarray(image).save(file, made.format, **{**made.options(), "optimize": False})
    return file.tell()


def activation_curve(
    layer: str,
    widths: Sequence[int],
    features: Callable[[], tuple[Features, Features]],
    tail: Callable[[Features], Answers],
    judge: Judge,
    kept: Kept,
) -> Curve:
    """Return what the layers behind `layer` answer to its output in few bits.

    Parameters
    ----------
    features
        Returns the output of `layer` for training and for test images, ``(N, C, H, W)``.
    tail
        Returns the classes of such outputs.
    """

    def measure(quantiser: Mapping[str, Any]) -> tuple[Any, Any]:
        training, test = features()
        fitting = [training[i : i + 1] for i in range(len(training))]
        codecs = [_calibrated(quantiser, coder, training) for coder in CODERS]
        best = min(codecs, key=lambda codec: int(_sizes(codec, fitting).sum()))
        sizes, arrived = _there_and_back(best, [test[i : i + 1] for i in range(len(test))])
        return tail(np.concatenate(arrived)) == judge.truth, sizes

    points = [
        kept.point(name, [layer, quantiser, judge.key], partial(measure, quantiser))
        for name, quantiser in _quantisers(widths)
    ]
    return Curve(f"activations of {layer}", tuple(points))


def _quantisers(widths: Sequence[int]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for bits in widths:
        clip = "min-max" if bits == 8 else "mse"
        yield f"{bits} bits", {"id": "affine", "bits": bits, "clip": clip}
        if bits <= MOST_CODEBOOK_BITS:
            yield (
                f"{bits} bits, codebook a channel",
                {"id": "codebook", "bits": bits, "per_channel": True},
            )


def _calibrated(
    quantiser: Mapping[str, Any], coder: Mapping[str, Any], training: Features
) -> Calibrated:
    return calibrate({"id": "pipeline", "codecs": [quantiser, coder]}, [training])


def _sizes(codec: Calibrated, samples: Sequence[Array]) -> NDArray[np.int64]:
    made, context = make_codec(codec.config), codec.context
    return np.array([len(made.encode(sample, context)) for sample in samples], np.int64)


def _there_and_back(
    codec: Calibrated, samples: Sequence[Array]
) -> tuple[NDArray[np.int64], list[Array]]:
    """Return the payload's bytes and what arrives, for each sample."""
    made, context = make_codec(codec.config), codec.context
    sizes, arrived = [], []
    for sample in samples:
        data = made.encode(sample, context)
        sizes.append(len(data))
        arrived.append(made.decode(data, header_of(sample), context))
    return np.array(sizes, np.int64), arrived
