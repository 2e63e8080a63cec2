"""How the HTTP rows end what they have started."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from bench_http import await_handler, load, served

HANDLER = "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(5)); time.sleep(60)"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which signals a process handles")
def test_a_signal_is_sent_when_it_is_handled_and_not_before() -> None:
    with subprocess.Popen([sys.executable, "-c", HANDLER]) as child:
        await_handler(child.pid, signal.SIGUSR1)
        child.send_signal(signal.SIGUSR1)
        assert child.wait(30) == 5


def test_without_what_drives_it_a_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(RuntimeError, match="wrk is not installed"):
        load(1, 1, 0.1)


def test_a_server_that_ends_before_it_listens_is_an_error() -> None:
    what = "no_such_server ended with status 1 before it listened"
    with pytest.raises(RuntimeError, match=what), served("no_such_server"):
        pytest.fail("it has listened")
