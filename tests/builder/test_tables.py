"""The sample table against what the graphs compute one sample at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from splitnet.builder.build import BuildConfig
from splitnet.builder.data import Dataset, load_roles
from splitnet.builder.execution import Execution, inputs_of
from splitnet.builder.tables import make_table
from splitnet.bundle import Bundle
from splitnet.console import Silent
from splitnet.runtime.answers import labels, max_softmax
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.samples import Samples


@pytest.fixture(scope="module")
def bundle(built: BuildConfig) -> Bundle:
    return open_bundle(built.out)


@pytest.fixture(scope="module")
def test_data(built: BuildConfig) -> Dataset:
    return load_roles(built.data, None, None, built.seed).test


def test_every_path_level_and_exit_has_a_row_for_each_test_sample(
    bundle: Bundle, test_data: Dataset
) -> None:
    table = bundle.table
    assert table.keys.tolist() == [[i, 0] for i in range(len(test_data))]
    assert table.exits.keys() == {head.id for head in bundle.advice.exits}
    assert table.paths.keys() == {
        (path.id, level) for path in bundle.contract.paths for level in range(2)
    }


@pytest.mark.parametrize(("path", "level"), [("input", 1), ("stage1", 0), ("bottleneck", 1)])
def test_rows_are_what_device_and_cloud_compute(
    built: BuildConfig, bundle: Bundle, test_data: Dataset, path: str, level: int
) -> None:
    execution = Execution(built.out, bundle.contract)
    assert test_data.y is not None
    for row in range(5):
        boundaries = execution.boundaries(inputs_of(bundle.contract, test_data, [row]))
        crossing = execution.crossing(path, boundaries)
        payloads, (output,) = execution.transmit(path, level, crossing)
        found = bundle.table.paths[path, level]
        assert found.score[row] == (labels(output)[0, 0] == test_data.y[row, 0])
        assert found.confidence[row] == pytest.approx(max_softmax(output)[0], abs=1e-5)
        assert found.bytes[row] == len(payloads[0])


def test_exit_rows_use_the_temperature(
    built: BuildConfig, bundle: Bundle, test_data: Dataset
) -> None:
    (head,) = bundle.advice.exits
    execution = Execution(built.out, bundle.contract)
    boundaries = execution.boundaries(inputs_of(bundle.contract, test_data, [0, 1, 2]))
    logits = execution.run(head.graph, boundaries[head.boundary])[0]
    found = bundle.table.exits[head.id].confidence[:3]
    assert np.allclose(found, max_softmax(logits, head.temperature), atol=1e-5)


def test_without_labels_the_whole_network_is_right(
    built: BuildConfig, bundle: Bundle, test_data: Dataset, tmp_path: Path
) -> None:
    data = Dataset(Samples(test_data.samples.x), "unlabelled")
    execution = Execution(built.out, bundle.contract)
    table = make_table(execution, bundle.advice.exits, data, Silent())
    assert table.mean_score("stage1", 0) == table.mean_score("input", 0) == 1.0
    assert table.mean_score("bottleneck", 1) <= 1.0
