"""JSON bodies as Go reads them."""

import pytest

from sampan.api.decode import decode
from sampan.base.errors import InvalidParameter
from sampan.wire.containers import CreateContainer, ExecConfig, HostConfig, StartExec


def test_keys_match_whatever_their_case() -> None:
    body = decode(b'{"image":"a","HOSTCONFIG":{"memory":5,"Dns":["1"],"portbindings":{}}}', CreateContainer)
    assert body.image == "a"
    assert body.host_config is not None
    assert (body.host_config.memory, body.host_config.dns) == (5, ["1"])
    assert body.host_config.port_bindings == {}


def test_null_leaves_the_default() -> None:
    body = decode(b'{"Hostname":null,"Tty":null,"HostConfig":null,"Env":null}', CreateContainer)
    assert (body.hostname, body.tty, body.host_config, body.env) == ("", False, None, None)
    assert decode(b"null", StartExec) == StartExec()


def test_null_in_a_map_stays() -> None:
    body = decode(
        b'{"NetworkingConfig":{"EndpointsConfig":{"net":null}},"Volumes":{"/a":null}}', CreateContainer
    )
    assert body.networking_config is not None
    assert body.networking_config.endpoints_config == {"net": None}
    assert body.volumes == {"/a": None}


def test_structs_in_lists_and_maps_are_read_too() -> None:
    body = decode(
        b'{"mounts":[{"type":"bind","bindoptions":{"propagation":"x"}}],'
        b'"portbindings":{"80/tcp":[{"hostport":"1"}]}}',
        HostConfig,
    )
    assert body.mounts is not None
    assert body.mounts[0].bind_options is not None
    assert body.mounts[0].bind_options.propagation == "x"
    assert body.port_bindings is not None
    assert (body.port_bindings["80/tcp"] or [])[0].host_port == "1"


def test_unknown_keys_are_ignored() -> None:
    assert decode(b'{"Detach":true,"Nope":{"a":[1]}}', StartExec).detach


def test_a_command_may_be_one_string() -> None:
    assert decode(b'{"Cmd":"echo"}', CreateContainer).cmd == "echo"
    with pytest.raises(InvalidParameter):
        decode(b'{"Cmd":"echo"}', ExecConfig)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "invalid JSON: got EOF while reading request body"),
        (b"  \n", "invalid JSON: got EOF while reading request body"),
        (b'{"Detach":', "invalid JSON: unexpected EOF"),
        (b"{bad}", "invalid JSON: "),
        (b"{} {}", "unexpected content after JSON"),
        (b"[]", "invalid JSON: json: cannot unmarshal array into Go value of type StartExec"),
        (
            b'{"Detach":"x"}',
            "invalid JSON: json: cannot unmarshal string into Go struct field StartExec.Detach of type bool",
        ),
        (
            b'{"ConsoleSize":["x"]}',
            "invalid JSON: json: cannot unmarshal string into Go struct field StartExec.ConsoleSize",
        ),
        (b'{"Detach":1e400}', "invalid JSON: "),
        (
            b'{"ConsoleSize":[-1,2]}',
            "invalid JSON: json: cannot unmarshal number into Go struct field StartExec.ConsoleSize[0] of "
            "type uint64",
        ),
        (b"\xff\xfe", "invalid JSON: "),
    ],
)
def test_what_is_wrong_is_said_in_dockers_words(data: bytes, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        decode(data, StartExec)
    assert str(caught.value).startswith(message)


def test_numbers_that_go_cannot_hold_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="cannot unmarshal number 99999999999999999999"):
        decode(b'{"Memory":99999999999999999999}', HostConfig)
    with pytest.raises(InvalidParameter, match="cannot unmarshal number 9223372036854775808"):
        decode(b'{"Memory":9223372036854775808}', HostConfig)
    with pytest.raises(InvalidParameter):
        decode(b'{"Memory":1.5}', HostConfig)


@pytest.mark.parametrize(
    "data", [b'{"Binds":["a\\u0000b"]}', b'{"Sysctls":{"a\\u0000":"1"}}', b'{"Runtime":"\\u0000"}']
)
def test_nul_characters_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidParameter, match="NUL character"):
        decode(data, HostConfig)


def test_broken_text_is_replaced() -> None:
    assert decode(b'{"Runtime":"a\xffb"}', HostConfig).runtime == "a\ufffdb"


def test_deep_nesting_is_no_crash() -> None:
    with pytest.raises(InvalidParameter):
        decode(b"[" * 100_000, StartExec)
