"""Only addresses of one strict form pass, and only at hosts of the list; no spelling of a host gets around it."""

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from certrad.workers.contract.callbacks import CallbackAddress, CallbackHosts, Origin
from certrad.workers.contract.settings import SharedSettings

HOSTS = CallbackHosts.read("ris.example, gateway.example:8443, http://plain.example, 192.0.2.7, [2001:db8::7]:9443")


@pytest.mark.parametrize(
    "address",
    [
        "https://ris.example",
        "https://ris.example/",
        "https://ris.example:443/ended",
        "https://RIS.Example/ended?job=%20of;them&a=b",
        "https://gateway.example:8443/a/b",
        "http://plain.example/ended",
        "http://plain.example:80/ended",
        "https://192.0.2.7/ended",
        "https://[2001:db8::7]:9443/ended",
        "https://[2001:0DB8:0:0::0007]:9443/ended",
    ],
)
def test_an_address_at_a_host_of_the_list_is_allowed(address: str) -> None:
    assert HOSTS.allows(CallbackAddress.read(address))


@pytest.mark.parametrize(
    "address",
    [
        "http://ris.example/",  # without TLS
        "https://plain.example/",  # the entry is for http
        "https://ris.example:8443/",  # another port
        "https://ris.example:80/",
        "https://gateway.example/",
        "https://gateway.example:443/",
        "https://ris.example.evil.example/",
        "https://evil-ris.example/",
        "https://sub.ris.example/",
        "https://evil.example/?ris.example",
        "https://evil.example/ris.example",
        "https://192.0.2.8/",
        "https://[2001:db8::8]:9443/",
        "https://[::ffff:192.0.2.7]/",  # the same machine in another family: not what the list says
    ],
)
def test_an_address_at_another_host_is_not_allowed(address: str) -> None:
    assert not HOSTS.allows(CallbackAddress.read(address))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ris.example",
        "//ris.example/",
        "ftp://ris.example/",
        "HTTPS:ris.example",
        "https:///ris.example",
        "https://",
        "https://user@ris.example/",
        "https://user:word@ris.example/",
        "https://ris.example@evil.example/",
        "https://evil.example\\@ris.example/",
        "https://evil.example\\.ris.example/",
        "https://evil.example#@ris.example/",
        "https://ris.example/#part",
        "https://ris.example./",  # a trailing dot
        "https://.ris.example/",
        "https://ris..example/",
        "https://ris.example:/",
        "https://ris.example:0/",
        "https://ris.example:65536/",
        "https://ris.example:443:443/",
        "https://ris.example:+443/",
        "https://rіs.example/",  # a Cyrillic letter
        "https://ris。example/",  # an ideographic full stop, which IDNA takes for a dot
        "https://ⓡis.example/",
        "https://ris%2eexample/",
        "https://ris_.example/",
        "https://-ris.example/",
        "https://3221225991/",  # 192.0.2.7 as one number
        "https://0xc0000207/",
        "https://0xc0.0.2.7/",
        "https://0300.0.2.7/",
        "https://192.0.519/",
        "https://192.0.2.07/",
        "https://192.0.2.7.0/",
        "https://name.0x7/",
        "https://[192.0.2.7]/",
        "https://[2001:db8::7%25eth0]:9443/",
        "https://[2001:db8::7/",
        "https://2001:db8::7/",
        "https://[]/",
        "https://ris.example/ended\r\nHost: evil.example",
        "https://ris.example/a b",
        "https://ris.example\t/",
        " https://ris.example/",
        "https://ris.example/ü",
        f"https://ris.example/{'a' * 1_024}",
        f"https://{'a' * 64}.example/",
        f"https://{'.'.join(['a' * 60] * 5)}/",
    ],
)
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="must"):
        CallbackAddress.read(address)


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("https://RIS.example", "https://ris.example/"),
        ("https://ris.example:443?a=B", "https://ris.example/?a=B"),
        ("https://gateway.example:8443/A/%2e", "https://gateway.example:8443/A/%2e"),
        ("http://plain.example:80/", "http://plain.example/"),
        ("https://[2001:0db8::0007]:9443/", "https://[2001:db8::7]:9443/"),
    ],
)
def test_an_address_has_one_form_that_is_read_as_the_same(address: str, form: str) -> None:
    read = CallbackAddress.read(address)
    assert str(read) == form
    assert CallbackAddress.read(form) == read


@pytest.mark.parametrize("hosts", ["", " ", ",", " , "])
def test_an_empty_list_allows_nothing(hosts: str) -> None:
    assert not CallbackHosts.read(hosts)
    assert not CallbackHosts.read(hosts).allows(CallbackAddress.read("https://ris.example/"))


def test_an_entry_without_a_scheme_is_for_https() -> None:
    assert Origin.read("ris.example") == Origin(scheme="https", host="ris.example", port=443)


def test_an_ip_address_is_named_by_an_entry_that_spells_it_only() -> None:
    assert HOSTS.names(ip_address("192.0.2.7"))
    assert HOSTS.names(ip_address("2001:db8::7"))
    assert not HOSTS.names(ip_address("192.0.2.8"))
    assert not CallbackHosts.read("ris.example").names(ip_address("192.0.2.7"))


@pytest.mark.parametrize(
    "entry", ["*", "*.example", "ris.example/path", "127.1", "user@ris.example", "ftp://ris.example"]
)
def test_a_list_with_a_wrong_entry_stops_the_process(entry: str) -> None:
    with pytest.raises(ValidationError, match="callback_hosts"):
        SharedSettings(callback_hosts=f"ris.example,{entry}")
