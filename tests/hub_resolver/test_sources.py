"""What lookups go by on a machine, as told to people."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub_resolver import Sources, sources


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCALDOMAIN", raising=False)
    monkeypatch.delenv("RES_OPTIONS", raising=False)


def write(folder: Path, **texts: str) -> dict[str, str]:
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {name: str(folder / name) for name in ("resolv_conf", "hosts", "nsswitch")}


def test_they_are_what_the_files_say(tmp_path: Path) -> None:
    paths = write(
        tmp_path,
        resolv_conf="nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a.test b.test\noptions timeout:3 attempts:4\n",
        hosts="127.0.0.1 localhost\n",
        nsswitch="hosts: mdns files dns\n",
    )
    servers, search = ("192.0.2.1", "192.0.2.2"), ("a.test", "b.test")
    assert sources(**paths) == Sources(servers, search, 3, 4, ("files", "dns"), localhost=True, unread=())


def test_files_that_are_not_there_count_as_empty_and_are_named(tmp_path: Path) -> None:
    paths = write(tmp_path, resolv_conf="search a.test\n")
    told = sources(**paths)
    assert told.servers == ("127.0.0.1",)
    assert told.order == ("dns", "files"), "glibc's own default"
    assert not told.localhost
    assert told.unread == (paths["nsswitch"], paths["hosts"])


def test_a_change_is_told(tmp_path: Path) -> None:
    paths = write(tmp_path, hosts="192.0.2.7 other\n")
    assert not sources(**paths).localhost
    write(tmp_path, hosts="::1 localhost\n")
    assert sources(**paths).localhost
