"""Samples that stand in two roles: what was trained on them looks better than it is."""

from __future__ import annotations

from itertools import combinations

from splitnet.builder.data import Roles
from splitnet.errors import ConfigError
from splitnet.training.results import Folder

MAX_OVERLAP = 0.01
"""Real data sets hold a few duplicates; above this share of a role it is the wrong data."""


def check_overlap(roles: Roles) -> tuple[str, ...]:
    """Return what a person should know of samples that stand in two roles.

    Raises
    ------
    ConfigError
        More than `MAX_OVERLAP` of a role stands in another one too. On what a network has learned
        by heart every exit looks perfect and every promise is void.
    """
    sets = {"training": roles.training, "calibration": roles.calibration, "test": roles.test}
    known_by = {role: data.digests for role, data in sets.items()}
    notes = []
    for first, second in combinations(sets, 2):
        known = set(known_by[first])
        same = sum(digest in known for digest in known_by[second])
        count = len(known_by[second])
        told = f"{same} of {count} {second} samples are {first} samples too"
        if same > MAX_OVERLAP * count:
            raise ConfigError(
                f"{told} ({sets[first].source} and {sets[second].source}); roles never share "
                f"samples: give {second} data that {first} has not seen"
            )
        if same:
            notes.append(told)
    return tuple(notes)


def check_learned_from(folder: Folder, what: str, roles: Roles) -> tuple[str, ...]:
    """Return what a person should know of samples that something was trained on elsewhere.

    Parameters
    ----------
    folder
        Its results.
    what
        Its name for people.

    Raises
    ------
    ConfigError
        More than `MAX_OVERLAP` of the calibration or of the test data is among them.
    """
    known, what = folder.samples(), f"{what} in {folder.path}"
    if known is None:
        return (f"it is not known what {what} learned from: calibrate and test on other data",)
    notes = []
    for role, data in (("calibration", roles.calibration), ("test", roles.test)):
        same = sum(digest in known for digest in data.digests)
        told = f"{same} of {len(data)} {role} samples ({data.source}) have trained {what}"
        if same > MAX_OVERLAP * len(data):
            raise ConfigError(f"{told}: give {role} data that is new to it")
        if same:
            notes.append(told)
    return tuple(notes)
