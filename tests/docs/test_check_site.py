"""tools/check_site.py sees what it says it sees: pages that are wrong in one way each, in a browser if there is one.

The tool starts a browser with several processes; on a machine that has other work that takes its time.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = "<!doctype html><html><head><title>t</title></head><body><article>{}</article></body></html>"
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10" width="10" height="10"/>'
WRONG = {
    "wide": ("<div style='width: 600px'>too wide</div>", "is 608 wide on a screen of 390: ['div.: too wide']"),
    "console": ("<script>console.error('help')</script>", "console: ['help']"),
    "exception": ("<script>nowhere()</script>", "exception: ReferenceError: nowhere is not defined"),
    "picture": ("<img src='gone.svg' alt='gone'>", "the picture gone.svg does not load"),
    "blind": ("<img src='here.svg'>", "the picture here.svg has no text (alt)"),
    "network": ("<script src='http://192.0.2.1/x.js' async></script>", "asks the network: http://192.0.2.1/x.js"),
    "page": ("<a href='gone.html'>gone</a>", "leads to gone.html, which is not there"),
    "anchor": ("<a href='index.html#gone'>gone</a>", "leads to index.html#gone, and there is no such anchor"),
}
RIGHT = (
    "<h1 id='here'>here</h1><img src='here.svg' alt='nothing'>"
    "<a href='index.html#here'>here</a><a href='#here'>here</a>"
    "<pre style='overflow-x: auto'><code style='display: block; width: 900px'>scrolls</code></pre>"
    "<a href='https://example.org/'>elsewhere: not asked</a>"
)


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("check_site", ROOT / "tools/check_site.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_site"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["check_site"]


def run(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["check_site.py", *arguments])
    status: int = tool.main()
    return status


def test_without_a_browser_it_says_what_to_install(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHROMIUM", "no-such-browser")
    assert run(tool, monkeypatch) == 2
    assert "install one of chromium-headless-shell" in capsys.readouterr().err


def test_a_browser_that_ends_at_once_is_an_error_and_not_a_wait(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text(PAGE.format(RIGHT))
    monkeypatch.setenv("CHROMIUM", "true")
    with pytest.raises((EOFError, BrokenPipeError)):
        run(tool, monkeypatch, str(tmp_path))


@pytest.mark.timeout(240)
def test_in_a_real_browser_good_pages_pass_and_each_fault_is_named(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if tool.find_browser() is None:
        pytest.skip("there is no Chromium: install chromium-headless-shell")
    (tmp_path / "index.html").write_text(PAGE.format(RIGHT))
    (tmp_path / "here.svg").write_text(PICTURE)
    assert run(tool, monkeypatch, str(tmp_path), "--shots", str(tmp_path / "shots")) == 0, capsys.readouterr().out
    shots = list((tmp_path / "shots").iterdir())
    assert len(shots) == 4
    assert all(shot.read_bytes().startswith(b"\x89PNG") for shot in shots)
    capsys.readouterr()

    for name, (body, _) in WRONG.items():
        (tmp_path / f"{name}.html").write_text(PAGE.format(body))
    assert run(tool, monkeypatch, str(tmp_path)) == 1
    said = capsys.readouterr().out.splitlines()
    for name, (_, fault) in WRONG.items():
        assert any(line.startswith(f"{name}.html") and fault in line for line in said), (name, said)
    assert {line.partition(".html")[0] for line in said[:-1]} == set(WRONG)
