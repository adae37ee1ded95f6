"""Bundles of the networks in `identity.py`, and samples for them.

    python benchmarks/identity_bundle.py DIR

builds all of them (extra build), for benchmarks that then run without torch (``--bundles DIR``).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

PATH = "head"
SHAPES = {"identity": (1, 32, 80), "echo": (1, 32, 64), "large": (1, 1000, 1000)}
"""Shapes of the samples: 10,240, 8,192 and 4,000,000 bytes as float32."""

SAMPLES = 20
"""Enough for a builder that trains nothing."""


def open_bundle_of(network: str, folder: Path) -> Path:
    """Return the bundle of a network in `folder`; build it, with the extra build, if it is not."""
    bundle = folder / network
    if (bundle / "contract.json").exists():
        return bundle
    folder.mkdir(parents=True, exist_ok=True)
    data = write_samples(folder / f"{network}.npz", SAMPLES, network)
    model = f"{Path(__file__).with_name('identity.py')}:{network}"
    command = [sys.executable, "-m", "splitnet", "build", "--out", str(bundle), "--json"]
    command += ["--model", model, "--data", str(data)]
    command += ["--cuts", PATH, "--exit-at", "none", "--bottleneck-at", "none"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    data.unlink()
    return bundle


def write_samples(file: Path, count: int, network: str) -> Path:
    """Write random samples for a network."""
    x = np.random.default_rng(0).random((count, *SHAPES[network]), dtype=np.float32)
    np.savez(file, x=x)
    return file


if __name__ == "__main__":
    for name in SHAPES:
        open_bundle_of(name, Path(sys.argv[1]))
