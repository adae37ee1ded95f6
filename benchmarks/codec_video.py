"""What do the frames of a video gain from the frame in front? Each cut of MobileNetV2.

The sequence video_vot15_bag, quantised to 4 bits. Range, weights and tables of every mode are
fitted to its first half and measured on its second; the best mode without prediction is the
baseline. One frame is then lost, and the frames until the stream decodes again are counted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from activations import CUTS, MOBILENET, shared_models
from codec_rows import Symbols, mean_bytes, ours
from numpy.typing import NDArray

from splitnet.codecs import Context, header_of, make_codec
from splitnet.codecs.calibrating import calibrate
from splitnet.codecs.references import References
from splitnet.errors import MissingReferenceError

BITS = 4
_BATCH = 14
INTRA: dict[str, dict[str, Any]] = {
    "rans": {"id": "rans"},
    "rans per channel": {"id": "rans", "per_channel": True},
    "rans neighbours": {"id": "rans-neighbours"},
}
DEEP_SIDE, DEEP_GAIN, MOST_LOSS = 14, -0.15, 0.005


def video_rows() -> list[dict[str, Any]]:
    """Return one row for each cut."""
    rows = []
    for cut, frames in _activations().items():
        half = len(frames) // 2
        quantiser = calibrate({"id": "affine", "bits": BITS, "clip": "mse"}, [frames[:half]])
        packed = make_codec(quantiser.config).encode(frames)
        header = replace(header_of(frames), dtype="uint8")
        symbols = make_codec({"id": "pack", "bits": BITS}).decode(packed, header)
        fitting, test = (
            [part[i : i + 1] for i in range(len(part))] for part in np.split(symbols, [half])
        )
        intra = {
            name: mean_bytes(ours(config, fitting), test[1:]) for name, config in INTRA.items()
        }
        best = min(intra, key=lambda name: intra[name])
        found = calibrate({"id": "previous", "intra": INTRA[best]}, fitting)
        sizes, recovery = _stream(found.config, found.context, test)
        change = float(np.mean(sizes[1:])) / intra[best] - 1
        deep = frames.shape[-1] <= DEEP_SIDE
        limit = DEEP_GAIN if deep else MOST_LOSS
        rows.append(
            {
                "cut": f"{MOBILENET}/{cut}",
                "shape": list(frames.shape[1:]),
                "intra": intra,
                "previous": float(np.mean(sizes[1:])),
                "change": change,
                "at_most": limit,
                "frames_to_recover": recovery,
                "met": change <= limit and recovery <= 1,
            }
        )
    return rows


def _stream(
    config: dict[str, Any], context: Context, frames: list[Symbols]
) -> tuple[list[int], int]:
    """Return the payloads of all frames, and how many frames a loss in the middle costs."""
    codec = make_codec(config)
    sides = [replace(context, references=References()) for _ in range(2)]
    sizes, lost, broken = [], len(frames) // 2, 0
    for number, frame in enumerate(frames):
        for side in sides:
            assert side.references is not None
            side.references.number = number
        edge, cloud = sides
        data = codec.encode(frame, edge)
        sizes.append(len(data))
        if number == lost:
            continue
        try:
            if not np.array_equal(codec.decode(data, header_of(frame), cloud), frame):
                raise SystemExit("a frame was decoded wrong")
        except MissingReferenceError:
            broken += 1
            assert edge.references is not None
            edge.references.forget()
    return sizes, broken


def _activations() -> dict[str, NDArray[np.float32]]:
    """Return what crosses each cut, all frames in order ``(N, C, H, W)``."""
    import torch

    data = shared_models()
    network = data.mobilenet("mobilenet_v2_1.0_224")
    caught: dict[str, list[Any]] = {cut: [] for cut in CUTS[MOBILENET]}
    for cut, rows in caught.items():
        layer = network.get_submodule(cut)
        layer.register_forward_pre_hook(lambda _l, x, rows=rows: rows.append(x[0].numpy().copy()))
    files = sorted((data.HERE / "video_vot15_bag").glob("*.jpg"))
    images = [data.imagenet_input(file, 224) for file in files]
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            network(torch.from_numpy(np.stack(images[start : start + _BATCH])))
    return {cut: np.concatenate(rows) for cut, rows in caught.items()}
