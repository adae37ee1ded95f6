"""Loading a bundle through ``read(name) -> bytes``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from types import MappingProxyType

import pytest

from splitnet.bundle import Bundle, SampleTable, load_bundle
from splitnet.errors import BundleError
from splitnet.values import Plan


def test_a_bundle_is_read_by_names(sample_bundle: Bundle, files: dict[str, bytes]) -> None:
    bundle = load_bundle(files.__getitem__)
    assert bundle.contract.sha256 == sample_bundle.contract.sha256
    assert bundle.advice == sample_bundle.advice
    assert bundle.table.to_bytes() == sample_bundle.table.to_bytes()


@pytest.mark.parametrize("name", ["contract.json", "advice.json", "sample_table.npz"])
def test_a_missing_file_is_named(files: dict[str, bytes], name: str) -> None:
    def read(wanted: str) -> bytes:
        if wanted == name:
            raise FileNotFoundError(2, "No such file or directory", wanted)
        return files[wanted]

    with pytest.raises(BundleError, match=f"cannot read {name} of the bundle: No such file"):
        load_bundle(read)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"version": NaN}', b'{"version": 1', b"9" * 5000],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_not_json_is_refused(files: dict[str, bytes], text: bytes) -> None:
    for name in ("contract.json", "advice.json"):
        with pytest.raises(BundleError, match=name) as error:
            load_bundle({**files, name: text}.__getitem__)
        assert len(str(error.value)) < 300


def test_a_table_of_another_build_is_refused(files: dict[str, bytes]) -> None:
    files["sample_table.npz"] += b"\x00"
    with pytest.raises(
        BundleError, match=r"sample_table.npz has the hash \w{12}, advice.json says"
    ):
        load_bundle(files.__getitem__)


def test_a_damaged_table_with_the_right_hash_is_refused(files: dict[str, bytes]) -> None:
    advice = json.loads(files["advice.json"])
    files["sample_table.npz"] = b"PK damaged"
    advice["sample_table"]["sha256"] = hashlib.sha256(b"PK damaged").hexdigest()
    files["advice.json"] = json.dumps(advice).encode()
    with pytest.raises(BundleError, match=r"sample_table\.npz is damaged"):
        load_bundle(files.__getitem__)


def test_a_table_without_a_path_or_an_exit_is_refused(sample_bundle: Bundle) -> None:
    table = sample_bundle.table
    paths = {key: rows for key, rows in table.paths.items() if key != ("c1", 1)}
    with pytest.raises(BundleError, match="no rows for 'c1@1'"):
        dataclasses.replace(sample_bundle, table=SampleTable(table.keys, table.exits, paths))
    no_exits = SampleTable(table.keys, MappingProxyType({}), table.paths)
    with pytest.raises(BundleError, match="no rows for the exit 'e1'"):
        dataclasses.replace(sample_bundle, table=no_exits)


def test_a_plan_has_a_stop_for_each_part_but_the_last(sample_bundle: Bundle) -> None:
    table, advice = sample_bundle.table, sample_bundle.advice
    rows = table.paths["c1", 1]
    table = dataclasses.replace(table, parts={("c1", 1): (rows, rows)})
    plan = Plan("c1", 1, stops=(0.9, 0.8))
    fits = dataclasses.replace(advice, plans=(*advice.plans, plan))
    bundle = dataclasses.replace(sample_bundle, advice=fits, table=table)
    assert bundle.advice.plans[-1].key == "c1@1+stops"
    for wrong, have in ((Plan("c1", 1, stops=(0.9,)), 2), (Plan("c2", 1, stops=(0.9,)), 0)):
        other = dataclasses.replace(advice, plans=(wrong,))
        message = rf"plans\[0\].stops: are 1, the sample table has rows of {have} parts"
        with pytest.raises(BundleError, match=message):
            dataclasses.replace(sample_bundle, advice=other, table=table)
