"""Frames of a stream: smaller than alone, never much larger, and a loss costs one key frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from splitnet.codecs import NO_CONTEXT, Array, Context, Header, header_of, make_codec
from splitnet.codecs.calibrating import calibrate
from splitnet.codecs.references import References
from splitnet.errors import CodecError, CorruptPayloadError, MissingReferenceError


def frames(count: int, seed: int) -> list[Array]:
    """Return symbols (below 16) of smooth channels in which a part changes from frame to frame."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(1, 6, 10, 10))
    found = []
    for _ in range(count):
        values = values + 0.15 * random.normal(size=values.shape)
        found.append(np.clip(np.rint(values * 2 + 8), 0, 15).astype(np.uint8))
    return found


FITTED = calibrate({"id": "previous", "intra": {"id": "rans"}}, frames(60, seed=0))
CODEC = make_codec(FITTED.config)
INTRA = make_codec(FITTED.config["intra"])


def side() -> Context:
    return replace(FITTED.context, references=References())


def at(context: Context, number: int) -> Context:
    assert context.references is not None
    context.references.number = number
    return context


def test_a_stream_comes_back_and_takes_less() -> None:
    edge, cloud = side(), side()
    sizes = []
    for number, frame in enumerate(frames(12, seed=1)):
        data = CODEC.encode(frame, at(edge, number))
        found = CODEC.decode(data, header_of(frame), at(cloud, number))
        assert np.array_equal(found, frame)
        sizes.append((len(data), len(INTRA.encode(frame, FITTED.context))))
    assert sizes[0][0] == sizes[0][1] + 1
    assert sum(own for own, _ in sizes[1:]) < 0.8 * sum(alone for _, alone in sizes[1:])


def test_a_frame_unlike_the_last_costs_a_byte_more() -> None:
    edge = side()
    for number, seed in enumerate((1, 2, 3)):
        (frame,) = frames(1, seed)
        data = CODEC.encode(frame, at(edge, number))
        assert len(data) <= 1 + len(INTRA.encode(frame, FITTED.context))


def test_one_frame_is_enough_to_recover() -> None:
    edge, cloud = side(), side()
    sent = frames(6, seed=4)
    for number in (0, 1):
        CODEC.decode(
            CODEC.encode(sent[number], at(edge, number)), header_of(sent[0]), at(cloud, number)
        )
    CODEC.encode(sent[2], at(edge, 2))  # lost
    data = CODEC.encode(sent[3], at(edge, 3))
    with pytest.raises(MissingReferenceError, match=r"frame 3 .* from frame 2, which is not here"):
        CODEC.decode(data, header_of(sent[3]), at(cloud, 3))
    assert edge.references is not None
    edge.references.forget(2)
    for number in (4, 5):
        data = CODEC.encode(sent[number], at(edge, number))
        found = CODEC.decode(data, header_of(sent[number]), at(cloud, number))
        assert np.array_equal(found, sent[number])
        assert data[0] == (3 if number == 4 else 1)  # frame 1 still serves, no key frame is needed


def test_a_new_receiver_needs_a_key_frame() -> None:
    edge = side()
    first, second = frames(2, seed=5)
    CODEC.encode(first, at(edge, 0))
    data = CODEC.encode(second, at(edge, 1))
    for context in (at(side(), 1), FITTED.context):
        with pytest.raises(MissingReferenceError, match="key frame"):
            CODEC.decode(data, header_of(second), context)
    assert edge.references is not None
    edge.references.forget()
    assert CODEC.encode(second, edge)[0] == 0


def test_another_shape_is_a_key_frame() -> None:
    edge = side()
    CODEC.encode(frames(1, seed=6)[0], at(edge, 0))
    other = np.zeros((1, 6, 5, 5), np.uint8)
    assert CODEC.encode(other, at(edge, 1))[0] == 0


def test_what_does_not_fit_is_refused() -> None:
    edge = side()
    first, second = frames(2, seed=7)
    CODEC.encode(first, at(edge, 0))
    data = CODEC.encode(second, at(edge, 1))
    cloud = side()
    CODEC.decode(CODEC.encode(first, side()), header_of(first), at(cloud, 0))
    with pytest.raises(CorruptPayloadError, match="cannot be predicted"):
        CODEC.decode(data, Header("uint8", (1, 6, 5, 5)), at(cloud, 1))
    with pytest.raises(CorruptPayloadError, match="empty"):
        CODEC.decode(b"", header_of(first), cloud)
    with pytest.raises(CodecError, match="64 hexadecimal"):
        make_codec({"id": "previous", "table": "x"})
    assert CODEC.encode(first, replace(FITTED.context, references=None))[0] == 0
    assert NO_CONTEXT.references is None


def test_both_coders_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    from splitnet.codecs import neighbours

    sent = frames(3, seed=8)
    edge, cloud = side(), side()
    native = [CODEC.encode(frame, at(edge, number)) for number, frame in enumerate(sent)]
    monkeypatch.setattr(neighbours, "accelerator", lambda: None)
    again = side()
    assert [CODEC.encode(f, at(again, n)) for n, f in enumerate(sent)] == native
    for number, (data, frame) in enumerate(zip(native, sent, strict=True)):
        assert np.array_equal(CODEC.decode(data, header_of(frame), at(cloud, number)), frame)
