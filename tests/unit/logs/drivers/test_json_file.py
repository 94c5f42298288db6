"""json-file records: decoding what is whole and what is not, and finding the end."""

import pytest
from support.logs import json_line

from sampan.logs.drivers.json_file import JsonFile

DRIVER = JsonFile()


def test_fields() -> None:
    data = json_line("hä\n", stream="stderr", time_ns=1_700_000_000_120_000_000, attrs={"a": "b"})
    (line,), used = DRIVER.decode(data, final=False)
    assert used == len(data)
    assert (line.stream, line.data, line.attrs) == ("stderr", "hä\n".encode(), {"a": "b"})
    assert line.time_ns == 1_700_000_000_120_000_000
    assert line.stamp == "2023-11-14T22:13:20.120000000Z"


@pytest.mark.parametrize(
    ("time", "stamp", "time_ns"),
    [
        ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20.000000000Z", 1_700_000_000 * 10**9),
        ("2023-11-14T22:13:20.1Z", "2023-11-14T22:13:20.100000000Z", 1_700_000_000_100_000_000),
        ("2023-11-14T22:13:20.123456789Z", "2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
    ],
)
def test_times(time: str, stamp: str, time_ns: int) -> None:
    (line,), _ = DRIVER.decode(f'{{"log":"x","stream":"stdout","time":"{time}"}}\n'.encode(), final=True)
    assert (line.stamp, line.time_ns) == (stamp, time_ns)


def test_times_in_other_zones_and_none() -> None:
    data = b'{"log":"x","time":"2023-11-14T23:13:20+01:00"}\n{"log":"y","time":"never"}\n{"log":"z"}\n'
    lines, _ = DRIVER.decode(data, final=True)
    assert [line.time_ns for line in lines] == [1_700_000_000 * 10**9, 0, 0]


def test_any_split() -> None:
    data = json_line("one\n") + json_line("two\n")
    for cut in range(len(data) + 1):
        first, used = DRIVER.decode(data[:cut], final=False)
        rest, more = DRIVER.decode(data[used:], final=False)
        assert [line.data for line in (*first, *rest)] == [b"one\n", b"two\n"]
        assert used + more == len(data)


def test_damage_is_passed_over() -> None:
    data = (
        json_line("one\n")
        + b'{"log": "torn\n'
        + b"\0" * 40
        + json_line("two\n")
        + b'{"log":"bad \xff utf-8\\n","stream":"stdout","time":""}\n\n'
        + b"[]\n"
        + json_line("three\n")
    )
    lines, used = DRIVER.decode(data, final=False)
    assert [line.data for line in lines] == [b"one\n", b"two\n", "bad � utf-8\n".encode(), b"three\n"]
    assert used == len(data)


def test_torn_end() -> None:
    data = json_line("one\n") + b'{"log":"tor'
    lines, used = DRIVER.decode(data, final=True)
    assert [line.data for line in lines] == [b"one\n"]
    assert used == len(data)


@pytest.mark.parametrize("torn", [b"", b'{"log":"torn'])
@pytest.mark.parametrize("total", [0, 1, 7, 3000])
@pytest.mark.parametrize("count", [1, 2, 7, 2999, 3000, 10**6])
def test_tail(total: int, count: int, torn: bytes) -> None:
    lines = [json_line(f"{number}" * (number % 60) + "\n") for number in range(total)]
    data = b"".join(lines) + torn
    offset, found = DRIVER.find_tail(lambda at, length: data[at : at + length], len(data), count)
    assert found == min(count, total)
    expected = b"".join(lines[total - found :])
    assert data[offset:] == expected + torn or (total == 0 and found == 0)


def test_file() -> None:
    assert DRIVER.file("abc") == "abc-json.log"
