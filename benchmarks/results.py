"""What every benchmark shares: facts of the machine, percentiles, and the JSON that it writes."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from splitnet.errors import SplitnetError

LIBRARIES = ("numpy", "onnxruntime", "pyzmq", "msgpack", "lz4", "splitnet")


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the option that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    return made


def run(main: Callable[[], int]) -> NoReturn:
    """End with the exit code of `main`; what is wrong with its arguments is one line."""
    try:
        sys.exit(main())
    except (SplitnetError, OSError) as error:
        sys.exit(f"error: {error}")


def shared_data() -> Path:
    """Return the folder with real images and weights; without one the benchmark ends."""
    folder = os.environ.get("SPLITNET_DATA")
    if not folder:
        raise SystemExit("error: set SPLITNET_DATA to the folder with models.py and weights/")
    return Path(folder)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(percent * len(ordered) / 100))]


def machine_facts() -> dict[str, Any]:
    """Return what a figure depends on besides the code."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": {name: version(name) for name in LIBRARIES},
    }


def report(name: str, figures: dict[str, Any], file: Path | None) -> None:
    """Print the figures, and write them with the facts of the machine if a file is given."""
    text = json.dumps({"benchmark": name, **figures, "machine": machine_facts()}, indent=2)
    print(text)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
