"""docs/wire.md tells the truth: every kind, field, type, code, flag, and the worked example."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from splitnet.errors import SplitnetError, WireCode
from splitnet.values import Load
from splitnet.wire import (
    MAGIC,
    MAX_HEAD_BYTES,
    MAX_PAYLOAD_BYTES,
    PROTOCOL_VERSION,
    InferFlag,
    Message,
    WorkerOffer,
)
from splitnet.wire.fields import (
    Binary,
    Boolean,
    Choice,
    FieldType,
    Integer,
    Many,
    Nullable,
    Prose,
    Record,
    Row,
    Text,
    field_types,
)

PAGE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text("utf-8")
GOLDEN = Path(__file__).parent / "golden" / "messages.json"
KINDS = get_args(Message)
OCTET = re.compile(r"\b[0-9a-f]{2}\b")
HEX_COLUMNS = 31
UNSIGNED = {2**bits - 1: f"u{bits}" for bits in (8, 16, 32, 64)}


def section(heading: str) -> str:
    """Return what stands below `heading`, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/wire.md has no section {heading!r}"
    return found[1]


def rows(text: str, first: str) -> list[list[str]]:
    """Return the rows of the table whose first column is headed `first`."""
    table = text.partition(f"| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in table]


def written(kind: FieldType) -> str:
    """Return `kind` as the page writes types."""
    match kind:
        case Integer(low=0, high=high) if high in UNSIGNED:
            return UNSIGNED[high]
        case Integer():
            return f"int {kind.low}..{kind.high}"
        case Boolean():
            return "bool"
        case Choice():
            return "code" if kind.members == tuple(WireCode) else "class"
        case Text():
            return f"text <={kind.most}"
        case Prose():
            return f"prose <={kind.most}"
        case Binary():
            sizes = [*map(str, kind.sizes)]
            return f"bytes {' or '.join(sizes)}" if len(sizes) < 3 else f"bytes <={sizes[-1]}"
        case Nullable():
            return f"{written(kind.of)} or nil"
        case Many():
            return f"[{written(kind.of)}] {kind.least}..{kind.most}"
        case Record():
            return {Load: "load", WorkerOffer: "worker offer"}[kind.cls]
        case Row():
            return "handle"
    raise AssertionError(kind)


def fields_of(cls: type[Any]) -> list[list[str]]:
    fields = [[name, written(kind)] for name, kind in field_types(cls).items()]
    return [*fields, ["payload", "frame"]] if "payload" in cls.__dataclass_fields__ else fields


def test_page_lists_every_kind_with_its_number() -> None:
    headings = re.findall(r"^### (\d+) (\w+)$", PAGE, re.MULTILINE)
    assert headings == [(str(cls.kind), cls.__name__) for cls in KINDS]


@pytest.mark.parametrize("cls", KINDS)
def test_page_lists_every_field_with_its_type_in_order(cls: type[Any]) -> None:
    table = rows(section(f"{cls.kind} {cls.__name__}"), "field")
    assert [row[:2] for row in table] == fields_of(cls)


def test_page_lists_the_fields_of_every_record() -> None:
    assert [row[:2] for row in rows(section("worker offer"), "field")] == fields_of(WorkerOffer)
    for heading, record in (
        ("load", field_types(WorkerOffer)["load"]),
        ("handle", handle_type()),
    ):
        assert isinstance(record, Row)
        fields = [[n, written(k)] for n, k in zip(record.names, record.types, strict=True)]
        assert [row[:2] for row in rows(section(heading), "field")] == fields


def handle_type() -> FieldType:
    many = field_types(next(cls for cls in KINDS if cls.__name__ == "Welcome"))["handles"]
    assert isinstance(many, Many)
    assert isinstance(many.of, Nullable)
    return many.of.of


def test_page_lists_every_flag() -> None:
    table = rows(section("3 Infer"), "flag")
    assert [row[:2] for row in table] == [[flag.name, str(flag.value)] for flag in InferFlag]


def test_page_lists_every_error_code() -> None:
    table = rows(section("Error codes"), "code")
    assert [row[:2] for row in table] == [[str(code.value), code.name] for code in WireCode]


def test_retryable_codes_are_those_of_the_errors() -> None:
    retryable = {row[1]: row[2] == "yes" for row in rows(section("Error codes"), "code")}
    for error in SplitnetError.__subclasses__():
        if error.wire_code is not WireCode.INTERNAL:
            assert retryable[error.wire_code.name] == error.retryable


def test_page_states_prefix_and_limits() -> None:
    assert MAGIC.hex(" ").upper() in section("Messages as bytes")
    assert f"version {PROTOCOL_VERSION}" in PAGE.splitlines()[0]
    assert f"| head | {MAX_HEAD_BYTES:,} bytes |" in section("Limits")
    assert f"{MAX_PAYLOAD_BYTES:,} bytes" in section("Limits")


@pytest.mark.parametrize(("position", "name"), [(0, "infer"), (1, "reply")])
def test_the_worked_example_is_the_golden_message(position: int, name: str) -> None:
    block = re.findall(r"(?:^    .*\n)+", section("An example"), re.MULTILINE)[position]
    octets = [octet for line in block.splitlines() for octet in OCTET.findall(line[:HEX_COLUMNS])]
    golden = next(entry for entry in json.loads(GOLDEN.read_text()) if entry["name"] == name)
    assert "".join(octets) == golden["frames"][0]


def test_links_lead_to_headings() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-").replace(",", "") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
