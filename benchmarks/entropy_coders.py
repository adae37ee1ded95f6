"""Measure how fast the entropy coders are, with and without the one in C, and what contexts save.

Symbols are real activations of ResNet-56 and MobileNetV2 at 8 and 4 bits, tables are fitted to
other images. The coder in Python runs in a process of its own, where SPLITNET_NO_ACCEL is set.
Times are medians of calls on whole arrays, with tables in place.

    SPLITNET_DATA=... python benchmarks/entropy_coders.py --json out/entropy_coders.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
from activations import Activations, load_activations
from numpy.typing import NDArray
from results import parser, report

from splitnet.codecs import Array, header_of, make_codec
from splitnet.codecs.calibrating import Calibrated, calibrate
from splitnet.codecs.native import NO_ACCELERATOR, accelerator

PLAIN, LATENT, SMALL_LATENT = 262_144, 2_523, 768
BATCH = 256
TENSOR = "resnet56/layer2.8"
BITS = (8, 4)
SAMPLES = 8
CHILD = "--one-coder"

Symbols = NDArray[np.uint8]


def main() -> int:
    """Measure both coders, print and write."""
    if CHILD in sys.argv:
        print(json.dumps(_speeds(load_activations())))
        return 0
    options = parser("Speed of the entropy coders, and bytes saved by contexts.").parse_args()
    tensors = load_activations()
    child = subprocess.run(
        [sys.executable, __file__, CHILD],
        env=os.environ | {NO_ACCELERATOR: "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = {"in Python": json.loads(child.stdout)}
    if accelerator() is not None:
        figures["in C"] = _speeds(tensors)
        figures["contexts"] = [_contexts(t, bits) for t in tensors for bits in BITS]
    report("entropy-coders", figures, options.json)
    return 0


def _symbols(array: Array, bits: int, tensor: Activations) -> Symbols:
    clip = "min-max" if bits == 8 else "mse"
    config = calibrate({"id": "affine", "bits": bits, "clip": clip}, [tensor.calibration]).config
    transform: Any = make_codec(config)
    symbols: Symbols = transform.split(array)[1]
    return symbols


def _speeds(tensors: Sequence[Activations]) -> dict[str, Any]:
    tensor = next(t for t in tensors if t.name == TENSOR)
    symbols = _symbols(tensor.calibration, 8, tensor)
    flat = symbols.reshape(1, -1)
    rans = calibrate({"id": "rans"}, [symbols])
    found: dict[str, Any] = {
        "plain": _rates(rans, flat[:, :PLAIN]),
        "adaptive": _rates(calibrate({"id": "rans-adaptive"}, [symbols]), flat[:, :PLAIN]),
        "latent": _times(rans, flat[:, :LATENT]),
        "activation of 8,192 symbols, one sample": _times(rans, symbols[:1]),
        "the same, adaptive": _times(calibrate({"id": "rans-adaptive"}, [symbols]), symbols[:1]),
    }
    codec, small = make_codec(rans.config), flat[:, :SMALL_LATENT]
    datas = [codec.encode(small, rans.context)] * BATCH
    headers = [header_of(small)] * BATCH
    batch_s = _seconds(lambda: codec.decode_batch(datas, headers, rans.context))
    found["batch_payloads_per_s"] = round(BATCH / batch_s)
    return found


def _contexts(tensor: Activations, bits: int) -> dict[str, Any]:
    """Return what neighbours save against tables for each channel, and how fast they are."""
    calibration = _symbols(tensor.calibration, bits, tensor)
    test = _symbols(tensor.test[:SAMPLES], bits, tensor)
    samples = [test[i : i + 1] for i in range(len(test))]
    channels = calibrate({"id": "rans", "per_channel": True}, [calibration])
    neighbours = calibrate({"id": "rans-neighbours"}, [calibration])
    before, after = (
        float(np.mean([len(_codec(fitted)[0](s)) for s in samples]))
        for fitted in (channels, neighbours)
    )
    return {
        "tensor": tensor.name,
        "bits": bits,
        "per_channel_bytes": round(before, 1),
        "neighbours_bytes": round(after, 1),
        "saved": round(1 - after / before, 4),
        "table_bytes": sum(len(table) for table in neighbours.tables.values()),
        **_rates(neighbours, samples[0]),
    }


def _codec(fitted: Calibrated) -> tuple[Callable[[Array], bytes], Callable[[bytes, Array], Array]]:
    codec, context = make_codec(fitted.config), fitted.context
    return (
        lambda array: codec.encode(array, context),
        lambda data, array: codec.decode(data, header_of(array), context),
    )


def _times(fitted: Calibrated, symbols: Symbols) -> dict[str, Any]:
    encode, decode = _codec(fitted)
    data = encode(symbols)
    if not np.array_equal(decode(data, symbols), symbols):
        raise SystemExit("a coder lost symbols")
    return {
        "symbols": symbols.size,
        "bytes": len(data),
        "encode_us": round(1e6 * _seconds(lambda: encode(symbols)), 1),
        "decode_us": round(1e6 * _seconds(lambda: decode(data, symbols)), 1),
    }


def _rates(fitted: Calibrated, symbols: Symbols) -> dict[str, Any]:
    times = _times(fitted, symbols)
    return {
        "encode_mb_s": round(symbols.nbytes / times["encode_us"], 1),
        "decode_mb_s": round(symbols.nbytes / times["decode_us"], 1),
    }


def _seconds(work: Callable[[], Any], repeats: int = 21) -> float:
    times = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - began_s)
    return median(times)


if __name__ == "__main__":
    sys.exit(main())
