"""resolv.conf(5) and nsswitch.conf(5), as the C library reads them."""

from __future__ import annotations

import builtins
import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from hub_resolver import _order
from hub_resolver._files import ResolvConf, Source, Watched, nsswitch_conf, resolv_conf


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCALDOMAIN", raising=False)
    monkeypatch.delenv("RES_OPTIONS", raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "host")


def test_an_empty_file_means_a_server_on_this_machine() -> None:
    assert resolv_conf("") == ResolvConf(servers=("127.0.0.1",), search=(), ndots=1, timeout=5, attempts=2)


def test_three_servers_count_and_what_is_no_address_does_not() -> None:
    text = "nameserver 192.0.2.1\nnameserver name\nnameserver fe80::1%eth0\nnameserver ::1\nnameserver 192.0.2.4\n"
    assert resolv_conf(text).servers == ("192.0.2.1", "fe80::1%eth0", "::1")


def test_the_last_of_search_and_domain_counts() -> None:
    assert resolv_conf("search a b.\ndomain c\n").search == ("c",)
    assert resolv_conf("domain c\nsearch a b.\n").search == ("a", "b")


def test_without_either_the_domain_of_this_machine_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "host.example.test")
    assert resolv_conf("").search == ("example.test",)
    assert resolv_conf("search a\n").search == ("a",)


def test_options_add_up_and_are_kept_within_bounds() -> None:
    conf = resolv_conf("options ndots:3 timeout:99\noptions attempts:9 rotate ndots:99 nonsense ndots:x\n")
    assert (conf.ndots, conf.timeout, conf.attempts, conf.rotate) == (15, 30, 5, True)
    assert resolv_conf("options timeout:0 attempts:0").timeout == 1


def test_comments_and_nonsense_are_passed_over() -> None:
    assert resolv_conf("# nameserver 192.0.2.1\n; search a\nnameserver\nsearch\n\n").servers == ("127.0.0.1",)


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALDOMAIN", "x y")
    monkeypatch.setenv("RES_OPTIONS", "ndots:4 use-vc")
    conf = resolv_conf("search a\noptions ndots:2\n")
    assert (conf.search, conf.ndots, conf.use_vc) == (("x", "y"), 4, True)


FILES, DNS = Source("files"), Source("dns")


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("hosts: files dns\n", (FILES, DNS)),
        ("passwd: files\nhosts:\tdns files # comment", (DNS, FILES)),
        ("hosts: files mdns4_minimal [NOTFOUND=return] dns myhostname", (FILES, DNS)),
        ("hosts: files [NOTFOUND=return] dns", (Source("files", frozenset({"notfound"})), DNS)),
        ("hosts: dns [!UNAVAIL=return] files", (Source("dns", frozenset({"notfound", "tryagain"})), FILES)),
        ("hosts: files[NOTFOUND=return]dns", (Source("files", frozenset({"notfound"})), DNS)),
        ("", (Source("dns", frozenset({"notfound", "tryagain"})), FILES)),
        ("hosts:", ()),
    ],
)
def test_sources_their_order_and_their_ends(text: str, sources: tuple[Source, ...]) -> None:
    assert nsswitch_conf(text) == sources


# -- files that cannot be read -----------------------------------------------------------------------------------------


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Put the number of an error in, and no file can be opened; take it out, and all is well again."""
    numbers: list[int] = []
    really_open = builtins.open

    def fail_or_open(*args: Any, **options: Any) -> Any:
        if numbers:
            raise OSError(numbers[0], "refused")
        return really_open(*args, **options)

    monkeypatch.setattr(builtins, "open", fail_or_open)
    return numbers


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_file_that_cannot_be_read_for_now_is_an_error_for_now(
    tmp_path: Path, refused: list[int], number: int
) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    file = Watched(str(path), str.upper)
    refused.append(number)
    with pytest.raises(socket.gaierror) as caught:
        file.value()
    assert caught.value.errno == socket.EAI_AGAIN
    refused.clear()
    assert file.value() == "ONE"


def test_a_file_that_was_read_says_the_same_until_it_can_be_read_again(tmp_path: Path, refused: list[int]) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    file = Watched(str(path), str.upper)
    assert file.value() == "ONE"
    path.write_text("another")
    refused.append(errno.EMFILE)
    assert file.value() == "ONE"
    refused.clear()
    assert file.value() == "ANOTHER"


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT])
def test_a_file_that_may_not_be_read_is_an_empty_one_until_it_may(
    tmp_path: Path, refused: list[int], number: int
) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    file = Watched(str(path), lambda text: [text])
    refused.append(number)
    empty = file.value()
    assert empty == [""]
    assert file.value() is empty  # who keeps what depends on it compares so
    refused.clear()
    assert file.value() == ["one"]


def test_addresses_are_ordered_by_the_usual_tables_while_the_file_cannot_be_read(
    tmp_path: Path, refused: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gai.conf").write_text("precedence ::ffff:0:0/96 100\n")
    monkeypatch.setattr(_order, "_policy", Watched(str(tmp_path / "gai.conf"), _order.policy))
    found = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.2")]
    refused.append(errno.EMFILE)
    assert sorted(_order.sort(found)) == found
