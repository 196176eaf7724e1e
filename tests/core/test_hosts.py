"""What may be written for a host to listen on, and which hosts are this machine alone."""

import pytest

from core.hosts import find_reachable, is_loopback, parse_host, quote_host


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1", "::1%1"],
)
def test_what_only_this_machine_reaches_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *("", "*", "0.0.0.0", "::", "[::]", "192.168.0.1", "example.org", "::ffff:10.0.0.1", "[[::1]]", "[::1"),
        *("localhost.evil.com", "127.0.0.1.nip.io", "localhost.localdomain", "0127.0.0.1", "2130706433", "127.1", "0"),
    ],
)
def test_what_only_looks_like_this_machine_is_not(host: str) -> None:
    assert not is_loopback(host)


def test_brackets_and_blanks_around_an_address_are_taken_off() -> None:
    assert parse_host("[::1]") == "::1"
    assert parse_host(" 127.0.0.1\r") == "127.0.0.1"
    assert parse_host("fe80::1%eth0") == "fe80::1%eth0"
    for host in ("localhost", "*", "0.0.0.0", "::", "my-box.local", "bücher.example", "127.1"):
        assert parse_host(host) == host


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("", "it is empty"),
        ("http://localhost", "is a URL; write the address alone, localhost"),
        ("http://localhost:8080/v1", "is a URL; write the address alone, localhost, and --port 8080"),
        ("localhost:8080", "holds a port, which is a setting of its own; write the address alone, localhost, and"),
        ("[::1]:80", r"write the address alone, \[::1\], and --port 80"),
        ("127.0.0.1:", "write the address alone, 127.0.0.1"),
        ("two words", "is neither an address nor a machine's name"),
        ("[localhost]", "is neither"),
        ("a..b", "is neither"),
        ("-x", "is neither"),
        ("\x1b[2J", "is neither"),
        ("\udcff", "is neither"),
        ("x" * 300, "is neither"),
    ],
)
def test_what_is_no_host_is_told_with_what_was_meant(host: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        parse_host(host)
    assert str(error.value).isprintable()


def test_hosts_in_addresses_are_those_that_work_from_here() -> None:
    assert [quote_host(find_reachable(host)) for host in ("*", "0.0.0.0", "::", "::1", "box", "fe80::1%eth0")] == [
        *("127.0.0.1", "127.0.0.1", "[::1]", "[::1]", "box", "[fe80::1%25eth0]")
    ]
