"""Docker's multiplexed stream, in pieces of every size."""

import pytest
from support.fake_daemon import frame

from sampan.client.errors import ClientError, StreamFailed
from sampan.client.frames import STDERR, STDOUT, Frames, split

STREAM = frame(1, b"one") + frame(2, b"two") + frame(1, b"") + frame(1, b"x" * 300) + frame(0, b"in")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 8, 9, 100, 1000])
def test_pieces_of_any_size(step: int) -> None:
    frames = Frames()
    out: dict[int, bytes] = {STDOUT: b"", STDERR: b""}
    for start in range(0, len(STREAM), step):
        for stream, data in frames.feed(STREAM[start : start + step]):
            out[stream] += data
    assert out == {STDOUT: b"one" + b"x" * 300 + b"in", STDERR: b"two"}


def test_neighbours_are_joined_and_order_is_kept() -> None:
    data = frame(1, b"a") + frame(1, b"b") + frame(2, b"c") + frame(1, b"d")
    assert Frames().feed(data) == [(1, b"ab"), (2, b"c"), (1, b"d")]


def test_a_long_frame_is_passed_on_as_it_comes() -> None:
    frames = Frames()
    assert frames.feed(frame(1, b"y" * 1000)[:108]) == [(1, b"y" * 100)]
    assert frames.feed(b"y" * 900 + frame(2, b"z")) == [(1, b"y" * 900), (2, b"z")]


def test_foreign_data_is_refused() -> None:
    with pytest.raises(ClientError, match="Unrecognized input header: 72"):
        Frames().feed(b"HTTP/1.1 500")


def test_an_error_in_the_stream() -> None:
    with pytest.raises(StreamFailed, match="error from daemon in stream: disk full"):
        Frames().feed(frame(3, b"disk full"))


def test_raw_streams_are_all_output() -> None:
    assert list(split([b"a", b"b"], multiplexed=False)) == [(1, b"a"), (1, b"b")]
