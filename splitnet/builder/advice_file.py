"""Changes of a bundle's advice on disk: whole or not at all, and never of the contract."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from splitnet.bundle import Advice
from splitnet.errors import BundleError
from splitnet.runtime.directory import open_bundle
from splitnet.values import Profile

ADVICE_FILE = "advice.json"


def update_advice(directory: Path, change: Callable[[Advice], Advice]) -> Advice:
    """Replace the advice of a bundle by what `change` makes of it, and return that.

    The advice is read anew, so that a change by others in the meantime is kept.

    Raises
    ------
    BundleError
        The bundle is damaged, or the file cannot be written; the old advice is then still there.
    """
    bundle = open_bundle(directory)
    advice = change(bundle.advice)
    advice.check_against(bundle.contract)
    write_json(directory / ADVICE_FILE, advice.to_json())
    return advice


def with_profile(advice: Advice, profile: Profile) -> Advice:
    """Return `advice` with `profile` in the place of the one of the same device, or at the end.

    The first profile stays the first: times of the cloud are taken from it.
    """
    known = [old.device for old in advice.profiles]
    if profile.device not in known:
        return replace(advice, profiles=(*advice.profiles, profile))
    new = tuple(profile if old.device == profile.device else old for old in advice.profiles)
    return replace(advice, profiles=new)


def write_json(file: Path, value: Any) -> None:
    """Write a JSON file that appears whole or not at all.

    Raises
    ------
    BundleError
        The file cannot be written; what was there before still is.
    """
    data = (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(new, file)
    except OSError as error:
        raise BundleError(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        new.unlink(missing_ok=True)
