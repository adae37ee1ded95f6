"""The bundle: a contract that both sides share, and advice that helps the edge choose."""

from splitnet.bundle.advice import Advice, ExitHead, FusedRun, Prefilter, Work
from splitnet.bundle.contract import (
    Boundary,
    Contract,
    GraphRef,
    Hop,
    Level,
    Path,
    Postprocess,
    Segment,
)
from splitnet.bundle.loading import Bundle, load_bundle
from splitnet.bundle.sample_table import ExitRows, PathRows, PlanStatistics, SampleTable

__all__ = [
    "Advice",
    "Boundary",
    "Bundle",
    "Contract",
    "ExitHead",
    "ExitRows",
    "FusedRun",
    "GraphRef",
    "Hop",
    "Level",
    "Path",
    "PathRows",
    "PlanStatistics",
    "Postprocess",
    "Prefilter",
    "SampleTable",
    "Segment",
    "Work",
    "load_bundle",
]
