"""Address pools of ``network create``, against docker/cli's own cases."""

import json

import pytest
from support.shared import shared

from sampan.cli.options.ipam import pools


def test_pools_in_the_order_of_their_subnets() -> None:
    reserved = {"a": "10.1.1.5", "b": "fd00::9"}
    made = pools(["10.1.0.0/16", "fd00::/64"], ["10.1.5.0/24"], ["fd00::1", "10.1.5.254"], reserved)
    assert made == [
        {
            "Subnet": "10.1.0.0/16",
            "IPRange": "10.1.5.0/24",
            "Gateway": "10.1.5.254",
            "AuxiliaryAddresses": {"a": "10.1.1.5"},
        },
        {"Subnet": "fd00::/64", "Gateway": "fd00::1", "AuxiliaryAddresses": {"b": "fd00::9"}},
    ]
    assert pools([], [], [], {}) == []


@pytest.mark.parametrize(
    ("subnets", "gateways", "text"),
    [
        (["x"], [], None),
        (["x"], ["10.0.0.1"], "invalid subnet: invalid CIDR address: x"),
        (["10.0.0.0/8"], ["x"], "invalid address: x"),
        (["10.0.0.0/24"], ["10.0.1.1"], "no matching subnet for gateway 10.0.1.1"),
    ],
)
def test_what_is_malformed(subnets: list[str], gateways: list[str], text: str | None) -> None:
    if text is None:
        assert pools(subnets, [], gateways, {}) == [{"Subnet": "x"}], "the daemon says what is wrong with it"
        return
    with pytest.raises(ValueError, match=text):
        pools(subnets, [], gateways, {})


def test_dockers_cases() -> None:
    for row in json.loads(shared("data/tables/network/create_errors.json").read_text()):
        flags = {name: value.split(",") for name, value in row["flags"].items()}
        reserved = dict(text.split("=") for text in flags.get("aux-address", ()))
        with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is compared below
            pools(flags.get("subnet", []), flags.get("ip-range", []), flags.get("gateway", []), reserved)
        assert row["error_contains"] in str(raised.value)
