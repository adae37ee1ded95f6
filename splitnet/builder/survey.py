"""What ``splitnet cuts`` tells of a model: every cut, what it costs, and where the best one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from splitnet.builder.boundaries import choose_boundaries
from splitnet.builder.cuts import find_cuts, input_bytes
from splitnet.builder.forms import InputForm, known_forms, random_inputs
from splitnet.builder.model import load_model
from splitnet.builder.placement import Placement, Placements, Setting, place
from splitnet.errors import ConfigError

_MARKERS = {"barred": "x", "several tensors": ".", "one tensor": "o", "chosen boundary": "*"}
"""How each kind of cut is drawn."""

Row: TypeAlias = tuple[object, ...]


def survey(spec: str, forms: Sequence[InputForm], setting: Setting | None = None) -> dict[str, Any]:
    """Return the cuts of a model as a JSON object.

    Parameters
    ----------
    spec
        The model, see `load_model`.
    forms
        Its inputs; nothing for a file, which declares them.
    setting
        Speeds for which the best cuts are looked for.

    Raises
    ------
    ConfigError
        The model does not exist, or its inputs are not known.
    ModelError
        It cannot be loaded or cut.
    """
    known = known_forms(spec, forms)
    axes = [form.names for form in known]
    model = load_model(spec, random_inputs(known, 1), axes)
    cuts, size = find_cuts(model.graph), input_bytes(model.graph)
    chosen = {choice.cut.id: choice.reason for choice in choose_boundaries(cuts, input_bytes=size)}
    found: dict[str, Any] = {
        "model": model.name,
        "inputs": [_tensor(spec.dtype, spec.dims) for spec in model.graph.inputs],
        "outputs": [_tensor(spec.dtype, spec.dims) for spec in model.graph.outputs],
        "operators": len(model.graph.nodes),
        "flops": sum(map(model.graph.flops, model.graph.nodes)),
        "cuts": [
            {
                "cut": cut.id,
                "tensors": [_tensor(spec.dtype, spec.dims) for spec in cut.specs],
                "bytes": cut.bytes,
                "flops_before": cut.flops_before,
                "flops_after": cut.flops_after,
                "barred": cut.barred,
                "chosen": chosen.get(cut.id, ""),
            }
            for cut in cuts
        ],
    }
    if setting is not None:
        found["best"] = _best(place(model.graph, cuts, setting))
    return found


def cut_rows(found: Mapping[str, Any]) -> list[Row]:
    """Return the cuts as rows of a table."""
    total = found["flops"] or 1
    return [
        (
            cut["cut"],
            ", ".join(cut["tensors"]),
            f"{cut['bytes']:,}",
            f"{cut['flops_before'] / 1e6:.1f}",
            f"{cut['flops_after'] / 1e6:.1f}",
            f"{cut['flops_before'] / total:.0%}",
            f"no: {cut['barred']}" if cut["barred"] else cut["chosen"],
        )
        for cut in found["cuts"]
    ]


def best_rows(found: Mapping[str, Any]) -> list[Row]:
    """Return the best cuts as rows of a table."""
    return [
        (
            kind,
            entry["cut"],
            *(f"{1e3 * entry[key]:.2f}" for key in ("device_s", "send_s", "cloud_s")),
            f"{1e3 * entry['latency_s']:.2f}",
            f"{1e3 * entry['period_s']:.2f}",
        )
        for kind, entry in found.get("best", {}).items()
    ]


def plot_cuts(found: Mapping[str, Any], file: Path) -> None:
    """Draw bytes against the work that is done before each cut.

    Raises
    ------
    ConfigError
        matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("--plot needs matplotlib: pip install 'splitnet[sim]'") from error
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    total = found["flops"] or 1
    for label, marker in _MARKERS.items():
        points = [
            (100 * cut["flops_before"] / total, cut["bytes"])
            for cut in found["cuts"]
            if _kind(cut) == label
        ]
        if points:
            axes.scatter(*zip(*points, strict=True), marker=marker, label=label)
    axes.set(xlabel="work before the cut, %", ylabel="bytes of one sample", yscale="log")
    axes.set_title(f"{found['model']}: {len(found['cuts'])} cuts")
    axes.legend()
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write the picture {file}: {error}") from error


def _kind(cut: Mapping[str, Any]) -> str:
    if cut["chosen"]:
        return "chosen boundary"
    return (
        "barred"
        if cut["barred"]
        else "one tensor"
        if len(cut["tensors"]) == 1
        else "several tensors"
    )


def _tensor(dtype: str, dims: Sequence[int | str]) -> str:
    return f"{dtype} {'x'.join(map(str, dims))}"


def _best(found: Placements) -> dict[str, Any]:
    steadiest = {**_placement(found.steadiest), "period_bound_s": found.period_bound_s}
    return {
        "least latency of the graph": _placement(found.fastest),
        "least latency of the cuts": _placement(found.usable),
        "small period": steadiest,
    }


def _placement(found: Placement) -> dict[str, Any]:
    return {
        "cut": found.where,
        "device_s": found.device_s,
        "send_s": found.send_s,
        "cloud_s": found.cloud_s,
        "latency_s": found.latency_s,
        "period_s": found.period_s,
    }
