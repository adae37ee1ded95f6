"""ResNet-56 on CIFAR-10 through two real processes, one run for each path, all test images.

    SPLITNET_DATA=... python examples/cifar10/evaluate.py --json out/cifar10.json

Builds a bundle with cuts after layer1, layer2 and layer3, a bottleneck at layer2 and an exit at
layer1 (training images for training; the first half of the test images calibrates the exit). Then
every path at its 8 bit level answers all 4,800 test images without a deadline; the exit answers the
half that it was not calibrated on, alone and on the way of a plan. Takes about half an hour on two
cores, most of it training; `--keep` uses the bundle of the last time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from splitnet.console import print_table
from splitnet.errors import ConfigError
from splitnet.processes import cloud_process, edge_process

HERE = Path(__file__).parent
PREPROCESS = "scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=chw"
EXACT_PATHS = ("input", "layer1", "layer2", "layer3")
WHOLE_MODEL = "device:end"
CALIBRATION_IMAGES = 2400
"""The first half of the test images calibrates the exit; the other half reports on it."""


def main() -> int:
    """Build, run every path, print a table; the exit code says whether the clouds answered all."""
    parser = argparse.ArgumentParser(description="ResNet-56 on CIFAR-10, path by path.")
    parser.add_argument("--data", type=Path, default=os.environ.get("SPLITNET_DATA"))
    parser.add_argument("--out", type=Path, default=Path("out/cifar10"))
    parser.add_argument("--keep", action="store_true", help="use the bundle of the last time")
    parser.add_argument("--limit", type=int, default=None, help="test images at most")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    options = parser.parse_args()
    if options.data is None:
        raise ConfigError("set SPLITNET_DATA or give --data: the folder with cifar10/ and weights/")
    options.out.mkdir(parents=True, exist_ok=True)
    bundle = options.out / "bundle"
    test = options.data / "cifar10" / "cifar10_test.npz"
    if not (options.keep and bundle.exists()):
        _build(options.data, test, bundle)
    half = f"{test}[{CALIBRATION_IMAGES}:]"
    exit_id = json.loads((bundle / "advice.json").read_text())["exits"][0]["id"]
    runs = [(WHOLE_MODEL, str(test))]
    runs += [(f"{path}@1", str(test)) for path in (*EXACT_PATHS, "bottleneck")]
    runs += [("bottleneck@1", half), (f"device:{exit_id}", half), ("layer3@1+exits", half)]
    with cloud_process(bundle) as cloud:
        rows = [_run(bundle, cloud.endpoint, plan, file, options.limit) for plan, file in runs]
    _show(rows)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"model": "ResNet-56", "runs": rows}, indent=2))
    return 0 if all(row["as_planned"] for row in rows) else 1


def _build(data: Path, test: Path, bundle: Path) -> None:
    command = [sys.executable, "-m", "splitnet", "build", "--force", "--out", str(bundle)]
    command += ["--model", f"{HERE / 'model.py'}:resnet56", "--preprocess", PREPROCESS]
    command += ["--cuts", "layer1,layer2,layer3", "--bottleneck-at", "layer2"]
    command += ["--exit-at", "layer1", "--data", str(data / "cifar10" / "cifar10_train_0.npz")]
    command += [
        "--calib",
        f"{test}[:{CALIBRATION_IMAGES}]",
        "--test",
        f"{test}[{CALIBRATION_IMAGES}:]",
    ]
    subprocess.run(command, check=True, env={**os.environ, "SPLITNET_DATA": str(data)})


def _run(bundle: Path, endpoint: str, plan: str, source: str, limit: int | None) -> dict[str, Any]:
    """Answer every image of `source` under one fixed plan and return the figures."""
    options = ["--source", source, "--policy", f"fixed:plan={plan}"]
    options += ["--limit", str(limit)] if limit else []
    started_s = time.monotonic()
    with edge_process(bundle, endpoint, *options) as edge:
        for _ in edge.answers():
            pass
    summary = edge.summary
    by = summary["answered_by"]
    local = sum(count for way, count in by.items() if way != "cloud")
    cloud_only = not plan.startswith("device:") and not plan.endswith("+exits")
    return {
        "plan": plan,
        "images": summary["answers"],
        "accuracy": summary["accuracy"],
        "answered_by": by,
        "as_planned": summary["failed"] == 0 and not (cloud_only and local),
        "payload_bytes": summary["uplink_bytes"] / max(1, by.get("cloud", 0)),
        "latency_ms": summary["latency_ms"],
        "seconds": time.monotonic() - started_s,
    }


def _show(rows: list[dict[str, Any]]) -> None:
    print_table(
        "ResNet-56 on CIFAR-10, two processes, no deadline",
        ["plan", "images", "accuracy", "bytes", "p50 ms", "p95 ms", "by"],
        [
            [
                row["plan"],
                row["images"],
                f"{row['accuracy']:.2%}",
                f"{row['payload_bytes']:.0f}",
                f"{row['latency_ms']['p50']:.1f}",
                f"{row['latency_ms']['p95']:.1f}",
                ", ".join(f"{way} {count}" for way, count in row["answered_by"].items()),
            ]
            for row in rows
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
