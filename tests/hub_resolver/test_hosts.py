"""The hosts file, as the C library reads it; the comparison in tests/journeys asks both."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from hub_resolver._hosts import Hosts, Known

INET, INET6 = socket.AF_INET, socket.AF_INET6


def hosts(tmp_path: Path, text: str) -> Hosts:
    (tmp_path / "hosts").write_bytes(text.encode("latin-1"))
    return Hosts(str(tmp_path / "hosts"))


def test_names_are_found_without_regard_to_case_and_given_as_written(tmp_path: Path) -> None:
    known = hosts(tmp_path, "10.0.0.1 Main Alias # comment\n")
    assert known.by_name("aLIAS") == Known("Main", ("Alias",), ("10.0.0.1",))
    assert known.by_name("comment") is None


def test_all_lines_of_a_name_count_and_the_first_of_an_address(tmp_path: Path) -> None:
    known = hosts(tmp_path, "10.0.0.1 twice one\nfd00::1 twice\n10.0.0.1 later\n")
    assert known.by_name("twice") == Known("twice", ("one",), ("10.0.0.1", "fd00::1"))
    assert known.by_name("twice", INET6) == Known("twice", (), ("fd00::1",))
    assert known.by_address("10.0.0.1") == Known("twice", ("one",), ("10.0.0.1",))


def test_the_loopback_of_ipv6_is_that_of_ipv4_for_who_asks_so(tmp_path: Path) -> None:
    known = hosts(tmp_path, "::1 here\n::ffff:10.0.0.8 mapped\n")
    assert known.by_name("here", INET) == Known("here", (), ("127.0.0.1",))
    assert known.by_name("mapped", INET) == Known("mapped", (), ("10.0.0.8",))
    assert known.by_address("10.0.0.8") == Known("mapped", (), ("10.0.0.8",))


def test_addresses_are_known_in_every_spelling(tmp_path: Path) -> None:
    assert hosts(tmp_path, "FD00:0::0001 six\n").by_address("fd00::1") == Known("six", (), ("fd00::1",))


def test_what_is_no_line_is_passed_over(tmp_path: Path) -> None:
    known = hosts(tmp_path, "10.0.0.300 a\n10.0.0.1\n \n#\n\xff\xfe b\n10.0.0.2 c\xe9 c\nfe80::1%lo d\n")
    assert [known.by_name(name) for name in "abd"] == [None] * 3
    assert known.by_name("c") is not None


def test_a_file_that_changes_is_read_again_and_one_that_goes_is_empty(tmp_path: Path) -> None:
    known = hosts(tmp_path, "10.0.0.1 name\n")
    assert known.by_name("name") is not None
    (tmp_path / "hosts").write_text("10.0.0.2 name other\n")
    assert known.by_name("other") == Known("name", ("other",), ("10.0.0.2",))
    os.unlink(tmp_path / "hosts")
    assert known.by_name("name") is None


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    known = hosts(tmp_path, "10.0.0.1 name\n")
    known.by_name("name")
    stamp = os.stat(tmp_path / "hosts")
    (tmp_path / "hosts").write_text("10.0.0.9 name\n")
    os.utime(tmp_path / "hosts", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert known.by_name("name") == Known("name", (), ("10.0.0.1",))


def test_a_hundred_thousand_names_are_asked_by_index(tmp_path: Path) -> None:
    known = hosts(tmp_path, "".join(f"0.0.0.0 ad{i}.example\n" for i in range(20_000)))
    assert known.by_name("ad19999.example") is not None
    assert known.by_name("none.example") is None
