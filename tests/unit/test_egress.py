"""Which addresses may be dialled: the table that the policy was measured against, and what an operator may add."""

import ipaddress

import pytest

from config.egress import EgressPolicy, is_local_host, is_local_url

POLICY = EgressPolicy()

BAD = [
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "169.254.170.2", "100.100.100.200", "0.0.0.0"),
    *("192.0.0.192", "192.88.99.1", "198.18.0.1", "203.0.113.7", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("168.63.129.16", "127.0.0.1", "127.8.8.8", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
    *("2002:7f00:1::", "2001:db8::1", "2001::1", "3fff::1", "5f00::1", "fec0::1", "::7f00:1", "fe80::1%eth0"),
]
GOOD = ["1.1.1.1", "8.8.8.8", "104.18.6.192", "142.250.74.106", "2606:4700::6810:84e5", "2a00:1450:4001:80e::200a"]
GOOD += ["::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", BAD)
def test_a_public_name_must_not_reach(address: str) -> None:
    assert not POLICY.allows_address(address, "api.example.com")


@pytest.mark.parametrize("address", GOOD)
def test_a_public_name_may_reach(address: str) -> None:
    assert POLICY.allows_address(address, "api.example.com")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_is_reached_by_a_url_that_says_so(host: str) -> None:
    assert is_local_host(host)
    assert POLICY.allows_address("127.0.0.1", host)
    assert POLICY.allows_address("::1", host)
    assert not POLICY.allows_address("10.0.0.1", host)


@pytest.mark.parametrize(
    "host", ["localhost.example.com", "localhost.localdomain", "127.0.0.1.nip.io", "", "2130706433"]
)
def test_what_merely_looks_local(host: str) -> None:
    assert not is_local_host(host)
    assert not POLICY.allows_address("127.0.0.1", host)


def test_local_urls() -> None:
    assert is_local_url("http://localhost:8080/v1")
    assert is_local_url("http://[::1]:8080")
    assert not is_local_url("http://localhost@example.com")
    assert not is_local_url("not a url")


def test_an_operator_may_allow_a_network() -> None:
    policy = EgressPolicy(allow_nets=(ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")))
    assert policy.allows_address("10.1.2.3", "gateway.internal")
    assert policy.allows_address("::ffff:10.1.2.3", "gateway.internal")
    assert policy.allows_address("fd00::1", "gateway.internal")
    assert not policy.allows_address("10.2.0.1", "gateway.internal")
    assert policy.base_url_problem("http://10.1.2.3:8000/v1") is None
    assert policy.base_url_problem("http://10.2.0.1:8000/v1") is not None


def test_an_operator_may_allow_a_host() -> None:
    policy = EgressPolicy(allow_hosts=frozenset({"gateway.internal"}))
    assert policy.allows_address("10.1.2.3", "Gateway.internal")
    assert not policy.allows_address("10.1.2.3", "other.internal")
    assert policy.base_url_problem("http://gateway.internal/v1") is None


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1",
        "https://api.example.com:8443",
        "https://8.8.8.8/v1",
        "http://localhost:8000/v1",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
    ],
)
def test_base_urls_that_are_accepted(url: str) -> None:
    assert POLICY.base_url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1",
        "ftp://api.example.com",
        "api.example.com",
        "https://",
        "https://user:pass@api.example.com",
        "https://api.example.com?key=1",
        "https://api.example.com#x",
        "https://api.example.com /v1",
        "https://10.0.0.1/v1",
        "https://169.254.169.254/latest",
        "https://[::ffff:10.0.0.1]/",
        "https://2130706433/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://api.example.com:99999",
        "https://[::1",
    ],
)
def test_base_urls_that_are_refused(url: str) -> None:
    assert POLICY.base_url_problem(url)
