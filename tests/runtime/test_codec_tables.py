"""Bundles whose levels need tables: the same context on every side, and damage that is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.builder.execution import Execution
from splitnet.bundle import Contract
from splitnet.codecs.packing import pack
from splitnet.errors import MissingTableError, UnknownCodecError, WireCode
from splitnet.machines.agent_io import Encode, Encoded, Prepare, RunSegments
from splitnet.machines.worker_io import BatchItem, ItemResult, RunBatch
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.directory import check_files, load_tables, open_bundle, table_names
from splitnet.runtime.worker import WorkerRuntime
from tests.coded_files import CODED_LEVELS, add_levels, write_coded_files

SAMPLES = np.random.default_rng(0).integers(0, 256, (8, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def coded(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample bundle with levels on path c1 that need tables."""
    return write_coded_files(files, tmp_path_factory.mktemp("coded") / "bundle")


def items(directory: Path, level: int, numbers: range = range(4)) -> list[BatchItem]:
    device = DeviceRuntime(directory, open_bundle(directory))
    found = []
    for number in numbers:
        device.start(number, lambda sample=SAMPLES[number]: sample)  # type: ignore[misc]
        for stage in (Prepare(), RunSegments(0, 1)):
            device.run(number, stage)
        encoded = device.run(number, Encode("c1", level))
        assert isinstance(encoded, Encoded)
        item = BatchItem("c1", level, encoded.payload, encoded.dims, encoded.refinements)
        found.append(item)
    return found


def test_every_table_of_the_levels_is_named_once(coded: Path) -> None:
    names = table_names(open_bundle(coded).contract)
    assert len(names) == len(set(names)) == 2
    assert set(load_tables(coded, open_bundle(coded).contract).tables) == set(names)
    check_files(coded, open_bundle(coded))


@pytest.mark.parametrize("level", CODED_LEVELS)
def test_device_worker_and_builder_agree(coded: Path, level: int) -> None:
    bundle = open_bundle(coded)
    worker, execution = WorkerRuntime(coded, bundle), Execution(coded, bundle.contract)
    sent = items(coded, level)
    _, _, results = worker.run(RunBatch(1, 0, 1, 3, tuple(sent)))
    whole = [pack([item.payload, *item.refinements]) for item in sent]  # type: ignore[list-item]
    decoded = execution.decode("c1", level, whole)
    (outputs,) = execution.finish("c1", decoded)
    for result, output in zip(results, outputs, strict=True):
        assert isinstance(result.payload, bytes)
        np.testing.assert_allclose(
            np.frombuffer(result.payload, np.float32), output, rtol=1e-4, atol=1e-5
        )


def test_the_answer_comes_closer_with_every_refinement(coded: Path) -> None:
    level = CODED_LEVELS[-1]
    bundle = open_bundle(coded)
    worker = WorkerRuntime(coded, bundle)
    plain = worker.run(RunBatch(1, 0, 1, 3, tuple(items(coded, 0))))[2]
    sent = items(coded, level)
    whole = 1 + len(sent[0].refinements)
    assert whole == 3
    errors = []
    for count in range(whole):
        some = [replace(item, refinements=item.refinements[:count]) for item in sent]
        found = worker.run(RunBatch(1, 0, 1, 3, tuple(some)))[2]
        errors.append(float(np.square(outputs(found) - outputs(plain)).mean()))
    assert errors[0] > errors[1] > errors[2]


def test_items_with_different_numbers_of_refinements_share_a_batch(coded: Path) -> None:
    worker = WorkerRuntime(coded, open_bundle(coded))
    sent = items(coded, CODED_LEVELS[-1])
    some = [replace(item, refinements=item.refinements[:n]) for n, item in enumerate(sent[:3])]
    alone = [worker.run(RunBatch(1, 0, 1, 3, (item,)))[2][0] for item in some]
    together = worker.run(RunBatch(1, 0, 1, 3, tuple(some)))[2]
    np.testing.assert_allclose(outputs(together), outputs(alone), rtol=1e-4, atol=1e-5)


def test_more_refinements_than_the_codec_makes_hurt_nobody_else(coded: Path) -> None:
    worker = WorkerRuntime(coded, open_bundle(coded))
    sent = items(coded, CODED_LEVELS[-1])
    sent[1] = replace(sent[1], refinements=(*sent[1].refinements, b"x"))
    sent[2] = replace(sent[2], refinements=(b"", b""))
    _, _, results = worker.run(RunBatch(1, 0, 1, 3, tuple(sent)))
    assert [result.payload is None for result in results] == [False, True, True, False]
    assert results[1].code is results[2].code is WireCode.CORRUPT
    assert "path c1, level 6" in results[1].message and "4 parts" in results[1].message


def outputs(results: Sequence[ItemResult]) -> NDArray[np.float32]:
    """Return what the network said of each item."""
    return np.stack([np.frombuffer(r.payload, np.float32) for r in results])  # type: ignore[arg-type]


def test_a_damaged_payload_in_a_batch_hurts_nobody_else(coded: Path) -> None:
    worker = WorkerRuntime(coded, open_bundle(coded))
    sent = items(coded, 2)
    sent[1] = replace(sent[1], payload=b"\x01")
    sent[2] = replace(sent[2], dims=(3,))
    _, _, results = worker.run(RunBatch(1, 0, 1, 3, tuple(sent)))
    assert [result.payload is None for result in results] == [False, True, True, False]
    assert [results[1].code, results[2].code] == [WireCode.CORRUPT, WireCode.BAD_TENSOR]


@pytest.mark.parametrize("damage", ["missing", "damaged"])
@pytest.mark.parametrize("opening", ["check", "device", "worker", "builder"])
def test_a_table_that_is_not_whole_is_named(
    coded: Path, tmp_path: Path, damage: str, opening: str
) -> None:
    directory = shutil.copytree(coded, tmp_path / "copy")
    bundle = open_bundle(directory)
    name = table_names(bundle.contract)[0]
    file = directory / "shards" / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(MissingTableError, match=f"needs the table {name}, but .*{damage}"):
        if opening == "check":
            check_files(directory, bundle)
        elif opening == "device":
            DeviceRuntime(directory, bundle)
        elif opening == "worker":
            WorkerRuntime(directory, bundle)
        else:
            Execution(directory, bundle.contract)


def test_a_table_is_part_of_what_the_path_hash_covers(coded: Path) -> None:
    contract = open_bundle(coded).contract
    name = table_names(contract)[0]
    other = Contract.from_json(json.loads(json.dumps(contract.to_json()).replace(name, "0" * 64)))
    assert other.path_hash("c1") != contract.path_hash("c1")
    assert other.path_hash("c2") == contract.path_hash("c2")


def test_an_unknown_codec_is_refused_when_the_bundle_is_opened(files: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(files, tmp_path / "copy")
    add_levels(directory, "c1", [{"id": "none-such"}])
    with pytest.raises(UnknownCodecError, match="none-such"):
        DeviceRuntime(directory, open_bundle(directory))
