"""Bundle directories on disk: reading the documents, checking the hashes of graphs and shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from splitnet.bundle import Bundle, Contract, GraphRef, load_bundle
from splitnet.codecs.base import Context, tables_of
from splitnet.codecs.making import make_codec
from splitnet.errors import BundleError, MissingTableError

_BLOCK_BYTES = 1 << 20


def open_bundle(directory: Path) -> Bundle:
    """Read and verify the documents of the bundle in `directory`.

    Graphs and shards are verified when they are opened (`GraphStore`) or by `check_files`.

    Raises
    ------
    BundleError
        The directory or a document is missing, damaged or of another version.
    """
    if not directory.is_dir():
        raise BundleError(
            f"there is no bundle at {directory}; make one with splitnet build --out {directory}"
        )
    try:
        return load_bundle(lambda name: _read(directory, name))
    except BundleError as error:
        if str(error).startswith((f"{directory}/", f"{directory}:")):
            raise
        raise BundleError(f"{directory}: {error}") from error


def check_files(directory: Path, bundle: Bundle) -> None:
    """Verify the hash of every graph, shard and codec table that the bundle names.

    Raises
    ------
    BundleError
        A file is missing or its content is not what the bundle promises.
    MissingTableError
        So is a codec table.
    """
    verified: set[str] = set()
    for ref in graph_refs(bundle):
        verify_graph(directory, ref, verified)
    load_tables(directory, bundle.contract)


def load_tables(directory: Path, contract: Contract) -> Context:
    """Return the context of the codecs of `contract`: every table that they name, verified.

    Raises
    ------
    CodecError
        A codec is not registered here or refuses its configuration.
    MissingTableError
        The file of a table is missing or damaged.
    """
    return Context({name: _read_table(directory, name) for name in table_names(contract)})


def table_names(contract: Contract) -> tuple[str, ...]:
    """Return the SHA-256 of every table that the codecs of `contract` need.

    Raises
    ------
    CodecError
        A codec is not registered here or refuses its configuration.
    """
    levels = (level for path in contract.paths for level in path.levels)
    configs = [config for level in levels for hop in level.codecs for config in hop]
    return tables_of(make_codec(config) for config in [*configs, *contract.reply])


def graph_refs(bundle: Bundle) -> Iterator[GraphRef]:
    """Yield every file of `bundle` that is named with a hash."""
    contract, advice = bundle.contract, bundle.advice
    yield contract.whole
    if contract.postprocess is not None:
        yield contract.postprocess.graph
    for segment in contract.segments:
        yield segment.graph
    for path in contract.paths:
        for hop in path.hops:
            yield from (ref for ref in (hop.encoder, hop.decoder) if ref is not None)
    for head in advice.heads:
        yield head.graph
    for run in advice.fused:
        yield run.graph
    yield from (advice.sample_table, advice.golden)


def verify_graph(directory: Path, ref: GraphRef, verified: set[str]) -> int:
    """Verify the files of `ref` that are not in `verified` yet, and return their size in bytes.

    `verified` holds the names that have been checked before and is added to.
    """
    size = 0
    for name, sha256 in ref.files.items():
        path = bundle_file(directory, name)
        size += path.stat().st_size
        if name not in verified:
            _verify_file(path, sha256)
            verified.add(name)
    return size


def bundle_file(directory: Path, name: str) -> Path:
    """Return the path of the file `name` of a bundle.

    Raises
    ------
    BundleError
        The name leads out of the bundle, or there is no such regular file.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name:
        raise BundleError(f"{directory}: the file name {name!r} leads out of the bundle")
    path = directory.joinpath(*parts)
    if any(directory.joinpath(*parts[: n + 1]).is_symlink() for n in range(len(parts))):
        raise BundleError(f"{path} is a symbolic link; a bundle holds regular files only")
    if not path.is_file():
        raise BundleError(f"{path} is missing from the bundle; build or copy the bundle again")
    return path


def _read(directory: Path, name: str) -> bytes:
    path = bundle_file(directory, name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from error


def _read_table(directory: Path, name: str) -> bytes:
    try:
        path = bundle_file(directory, f"shards/{name}")
        _verify_file(path, name)
        return path.read_bytes()
    except (BundleError, OSError) as error:
        raise MissingTableError(f"a codec needs the table {name}, but {error}") from error


def _verify_file(path: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from error
    if digest.hexdigest() != sha256:
        raise BundleError(
            f"{path} is damaged: its SHA-256 is {digest.hexdigest()[:12]}..., the bundle says "
            f"{sha256[:12]}...; build or copy the bundle again"
        )
