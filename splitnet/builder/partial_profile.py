"""What an interrupted profile has measured so far, kept beside the bundle until it is complete."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitnet.builder.advice_file import write_json
from splitnet.values import StageTime


@dataclass(frozen=True, slots=True)
class Measured:
    """One job's times, and its energy for a sample if a rail can be read."""

    time: StageTime
    joules: float | None = None


class PartialProfile:
    """The measured jobs of one profile, by their keys.

    Parameters
    ----------
    bundle
        The bundle's directory; the file stands beside it.
    device
        The profile's name.
    settings
        What must be equal for old measurements to count.
    """

    def __init__(self, bundle: Path, device: str, settings: Mapping[str, Any]) -> None:
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", device)
        place = bundle.resolve()
        self.file = place.with_name(f"{place.name}.profile-{name}.partial")
        self._settings = dict(settings)
        self.jobs = self._read()

    def add(self, key: str, measured: Measured) -> None:
        """Keep what a job took.

        Raises
        ------
        BundleError
            The file cannot be written.
        """
        self.jobs[key] = measured
        rows = {k: [m.time.p50_s, m.time.p95_s, m.joules] for k, m in self.jobs.items()}
        write_json(self.file, {"settings": self._settings, "jobs": rows})

    def remove(self) -> None:
        """Remove the file: the profile is where it belongs."""
        self.file.unlink(missing_ok=True)

    def _read(self) -> dict[str, Measured]:
        """Return what is there already; a file that does not fit or is damaged counts as none."""
        try:
            content = json.loads(self.file.read_bytes())
            if content["settings"] != json.loads(json.dumps(self._settings)):
                return {}
            return {
                key: Measured(StageTime(float(p50_s), float(p95_s)), joules)
                for key, (p50_s, p95_s, joules) in content["jobs"].items()
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}
