"""Docker's compact records: decoding what is whole and what is not, and finding the end."""

import pytest
from support.logs import local_record

from sampan.logs.drivers.local import Local

DRIVER = Local()


def test_fields() -> None:
    data = local_record(
        b"h\xff", stream="stderr", time_ns=1_700_000_000_120_000_000, attrs={"a": "b", "c": ""}
    )
    (line,), used = DRIVER.decode(data, final=False)
    assert used == len(data)
    assert (line.stream, line.data, line.attrs) == ("stderr", b"h\xff\n", {"a": "b", "c": ""})
    assert line.time_ns == 1_700_000_000_120_000_000
    assert line.stamp == "2023-11-14T22:13:20.120000000Z"


def test_times_before_1970() -> None:
    (line,), _ = DRIVER.decode(local_record(b"", time_ns=-5), final=True)
    assert line.time_ns == -5


def test_parts_of_a_line() -> None:
    data = local_record(b"one ", partial=True) + local_record(b"two", partial=False) + local_record(b"")
    lines, _ = DRIVER.decode(data, final=True)
    assert [line.data for line in lines] == [b"one ", b"two\n", b"\n"]


def test_any_split() -> None:
    data = local_record(b"one") + local_record(b"x" * 300)
    for cut in range(len(data) + 1):
        first, used = DRIVER.decode(data[:cut], final=False)
        rest, more = DRIVER.decode(data[used:], final=False)
        assert [line.data for line in (*first, *rest)] == [b"one\n", b"x" * 300 + b"\n"]
        assert used + more == len(data)


def test_a_damaged_record() -> None:
    broken = bytearray(local_record(b"two"))
    broken[4] = 0xFF  # the key of the first field
    lines, used = DRIVER.decode(
        data := local_record(b"one") + bytes(broken) + local_record(b"three"), final=False
    )
    assert [line.data for line in lines] == [b"one\n", b"three\n"]
    assert used == len(data)


@pytest.mark.parametrize("damage", [b"\xff\xff\xff\xff" + b"x" * 40, b"\0\0\0\x05abcdefghijklmn"])
def test_lost_track(damage: bytes) -> None:
    data = local_record(b"one") + damage + local_record(b"two")
    lines, used = DRIVER.decode(data, final=False)
    assert [line.data for line in lines] == [b"one\n"]
    assert used == len(data)


@pytest.mark.parametrize("count", [1, 2, 299, 300, 10**6])
@pytest.mark.parametrize("size", [10, 5000])
def test_tail(count: int, size: int) -> None:
    records = [local_record(b"x" * (number * size // 300)) for number in range(300)]
    data = b"".join(records)
    offset, found = DRIVER.find_tail(lambda at, length: data[at : at + length], len(data), count)
    assert found == min(count, 300)
    assert data[offset:] == b"".join(records[300 - found :])


def test_tail_behind_damage() -> None:
    records = [local_record(f"{number}".encode()) for number in range(5)]
    data = b"".join(records) + local_record(b"torn")[:-3]

    def read(at: int, length: int) -> bytes:
        return data[at : at + length]

    offset, found = DRIVER.find_tail(read, len(data), 2)
    lines, _ = DRIVER.decode(data[offset:], final=True)
    assert (found, [line.data for line in lines]) == (2, [b"3\n", b"4\n"])
    assert DRIVER.find_tail(lambda _at, _length: b"", 0, 2) == (0, 0)
    assert DRIVER.find_tail(lambda _at, length: b"\xff" * length, 100, 2) == (0, 0)


def test_file() -> None:
    assert DRIVER.file("abc") == "local-logs/container.log"
