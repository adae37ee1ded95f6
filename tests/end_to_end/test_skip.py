"""Two real processes and a prefilter: what is skipped is counted and never sent."""

from __future__ import annotations

from pathlib import Path

from splitnet.bundle import Bundle
from splitnet.processes import cloud_process
from tests.end_to_end.conftest import SAMPLES, Run, frames_of
from tests.sample_files import write_sample_files


def test_skipped_samples_send_nothing(skipping_bundle: Bundle, tmp_path: Path, edge: Run) -> None:
    directory = tmp_path / "bundle"
    bundle = write_sample_files(directory, skipping_bundle)
    assert bundle.advice.prefilter is not None
    threshold, interest = bundle.advice.prefilter.head.threshold, bundle.advice.prefilter.interest
    with cloud_process(directory) as cloud:
        done = edge(cloud.endpoint, "--bundle", directory, "--policy", "fixed:plan=c1@0+skip")
    assert done.code == 0 and frames_of(done.answers) == list(range(SAMPLES))
    by = done.summary["answered_by"]
    assert by.keys() == {"cloud", "skip"} and sum(by.values()) == SAMPLES
    assert done.summary["counters"]["answered_skip"] == by["skip"]
    for answer in done.answers:
        if answer["answered_by"] == "skip":
            assert answer["confidence"] >= threshold and answer["uplink_bytes"] == 0
            assert answer["labels"] == [] and answer["score"] in (0.0, 1.0)
        else:
            assert answer["uplink_bytes"] > 0 and answer["score"] == 1.0
    whole = {answer["frame"]: answer for answer in done.answers}
    assert len(whole) == SAMPLES and interest == (3, 5)
