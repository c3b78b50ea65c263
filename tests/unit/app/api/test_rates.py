"""Refusals are counted by network: one client has a whole /64 of IPv6."""

import pytest

from certrad.app.api.rates import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.9", "192.0.2.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_client_of_ipv6_is_counted_by_its_64(address: str, network: str) -> None:
    assert network_of({"client": (address, 1)}) == network


def test_connection_without_an_address_is_counted_as_unknown() -> None:
    assert network_of({"client": None}) == "unknown"
