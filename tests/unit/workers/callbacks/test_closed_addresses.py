"""No callback connects to a closed IP address, in whatever form it is written."""

from ipaddress import ip_address

import pytest

from certrad.workers.callbacks.addresses import ConnectionRefusedByRuleError, is_closed, open_addresses
from certrad.workers.contract.callbacks import CallbackHosts, Origin

ORIGIN = Origin.read("receiver.test")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:7f00:1::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "fd00:ec2::254",
    ],
)
def test_an_address_of_this_machine_or_its_surroundings_is_closed(address: str) -> None:
    assert is_closed(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.7", "172.16.0.7", "192.168.1.7", "100.64.0.7", "192.0.2.7", "8.8.8.8"),
        *("fd12:3456::7", "2001:db8::7", "::ffff:10.0.0.7", "64:ff9b::808:808"),
    ],
)
def test_private_and_public_addresses_are_open(address: str) -> None:
    assert not is_closed(ip_address(address))


def test_the_open_ones_of_several_addresses_are_used() -> None:
    found = open_addresses(ORIGIN, CallbackHosts.read(""), lambda _, __: ["127.0.0.1", "10.0.0.7", "::1", "10.0.0.8"])
    assert found == ["10.0.0.7", "10.0.0.8"]


def test_an_address_that_is_on_the_list_itself_is_open() -> None:
    assert open_addresses(ORIGIN, CallbackHosts.read("127.0.0.1:9"), lambda _, __: ["127.0.0.1"]) == ["127.0.0.1"]


def test_a_name_that_leads_to_closed_addresses_only_is_refused() -> None:
    with pytest.raises(ConnectionRefusedByRuleError):
        open_addresses(ORIGIN, CallbackHosts.read("127.0.0.2"), lambda _, __: ["127.0.0.1", "::1"])
