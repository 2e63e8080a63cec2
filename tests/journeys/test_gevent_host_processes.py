"""gevent's programs on our loop: signals, subprocesses and forks, and a path that is watched."""

from __future__ import annotations

import signal

import pytest
from tests.journeys.gevent_programs import PATCHED, POLLERS, finish, run, start

# -- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poller", POLLERS)
def test_signal_handlers_run_in_greenlets(poller: str) -> None:
    program = """
    import signal
    from gevent.event import Event

    heard = Event()

    def handle(word):
        gevent.sleep(0.001)  # it may block: it is a greenlet
        print(word)
        heard.set()

    before = signal.getsignal(signal.SIGUSR1)
    handler = gevent.signal_handler(signal.SIGUSR1, handle, "usr1")
    other = gevent.signal_handler(signal.SIGUSR2, handle, "usr2")
    for signum in (signal.SIGUSR1, signal.SIGUSR2):
        gevent.spawn_later(0.001, os.kill, os.getpid(), signum)
        assert heard.wait(20)
        heard.clear()
    handler.cancel()
    handler.cancel()
    print(signal.getsignal(signal.SIGUSR1) == before)
    other.cancel()
    """
    assert run(program, poller=poller) == ["usr1", "usr2", "True"]


def test_a_python_signal_handler_wakes_a_sleeping_hub() -> None:
    program = """
    import signal
    from gevent.event import Event

    rang = Event()
    signal.signal(signal.SIGALRM, lambda signum, frame: rang.set())
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    print(rang.wait(20))
    """
    assert run(program) == ["True"]


def test_what_a_signals_handler_raises_surfaces_in_the_main_greenlet() -> None:
    program = """
    import signal

    gevent.get_hub().exception_stream = None
    handler = gevent.signal_handler(signal.SIGUSR1, sys.exit, 3)
    gevent.spawn_later(0.001, os.kill, os.getpid(), signal.SIGUSR1)
    try:
        gevent.sleep(20)
    except SystemExit as error:
        print("status", error.code)
    gevent.sleep(0.001)
    handler.cancel()
    """
    assert run(program) == ["status 3"]


@pytest.mark.parametrize("poller", POLLERS)
def test_control_c_ends_a_sleeping_program_as_it_ends_any(poller: str) -> None:
    program = """
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever whoever started us has set
    gevent.spawn(gevent.sleep, 300)
    gevent.spawn(print, "ready", flush=True)
    gevent.sleep(300)
    """
    process = start(program, poller=poller)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    printed, complaints = finish(process)
    assert (process.returncode, printed) == (-signal.SIGINT, "")
    assert complaints.rstrip().endswith("KeyboardInterrupt")


# -- processes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poller", POLLERS)
def test_subprocesses_are_talked_to_and_waited_for(poller: str) -> None:
    program = """
    from gevent import subprocess

    def answer():
        for _ in range(5):
            gevent.sleep(0.001)
        asking.stdin.write(b"done\\n")
        asking.stdin.flush()

    cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    print(len(cat.communicate(b"x" * 300_000)[0]), cat.returncode)
    print([subprocess.call(["sh", "-c", f"exit {status}"]) for status in (0, 1, 77)])
    print(subprocess.call(["sh", "-c", "kill -TERM $$"]))
    asking = subprocess.Popen(["sh", "-c", "read line; echo $line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    gevent.spawn(answer)
    print(asking.stdout.read(), asking.wait(timeout=20))  # it waits for a greenlet, while greenlets wait for it
    sleeper = subprocess.Popen(["sleep", "300"])
    try:
        sleeper.wait(timeout=0.01)
    except subprocess.TimeoutExpired:
        print("expired", sleeper.poll())
    sleeper.kill()
    print(sleeper.wait(timeout=20), sleeper.poll())
    try:
        subprocess.run(["/nonexistent"])
    except FileNotFoundError:
        print("not found")
    many = [subprocess.Popen(["sh", "-c", f"exit {number}"]) for number in range(20)]
    gevent.wait(many, timeout=20)
    print([child.returncode for child in many] == list(range(20)))
    """
    assert run(program, poller=poller) == [
        "300000 0",
        "[0, 1, 77]",
        "-15",
        "b'done\\n' 0",
        "expired None",
        "-9 -9",
        "not found",
        "True",
    ]


def test_a_patched_program_uses_the_standard_librarys_subprocess() -> None:
    program = """
    import signal
    import subprocess
    import threading

    results = []
    threads = [
        threading.Thread(target=lambda: results.append(subprocess.run(["sh", "-c", "sleep 0.01; exit 3"]).returncode))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(results)
    heard = threading.Event()
    signal.signal(signal.SIGCHLD, lambda signum, frame: heard.set())
    subprocess.run(["true"], check=True)
    print(heard.wait(20))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    print(subprocess.run(["sh", "-c", "exit 4"]).returncode)
    """
    assert run(program, first=PATCHED) == ["[3, 3, 3, 3, 3]", "True", "4"]


@pytest.mark.parametrize("poller", POLLERS)
def test_a_forked_child_goes_on_with_a_loop_of_its_own(poller: str) -> None:
    program = """
    import gevent.os
    import gevent.socket

    here, there = gevent.socket.socketpair()
    pool = gevent.get_hub().threadpool
    pool.apply(int)
    waiting = gevent.spawn(here.recv, 100)  # the parent's greenlet; the child has a copy of it
    gevent.sleep(0.001)
    pid = gevent.os.fork_and_watch()
    if pid == 0:
        try:
            waiting.kill()
            gevent.sleep(0.001)
            there.sendall(b"from the child: %d" % pool.apply(abs, (-5,)))
            number = gevent.spawn(lambda: 7).get(timeout=20)
            gevent.sleep(0.001)
        except BaseException:
            number = 1
        os._exit(number)
    print(waiting.get(timeout=20))
    print(os.waitstatus_to_exitcode(gevent.os.waitpid(pid, 0)[1]))
    pid = gevent.os.fork()
    if pid == 0:
        os._exit(8)
    print(os.waitstatus_to_exitcode(gevent.os.waitpid(pid, 0)[1]))
    """
    assert run(program, poller=poller) == ["b'from the child: 5'", "7", "8"]


def test_a_patched_program_forks_and_waits() -> None:
    program = """
    import multiprocessing

    reader, writer = os.pipe()

    def release():
        for _ in range(5):
            time.sleep(0.001)
        os.write(writer, b"x")

    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        os._exit(9)
    gevent.spawn(release)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=lambda: time.sleep(0.001) or queue.put("from the child"))
    child.start()
    print(queue.get(timeout=20))
    child.join()
    print(child.exitcode)
    """
    assert run(program, first=PATCHED) == ["9", "from the child", "0"]


def test_a_patched_program_waits_for_any_child() -> None:
    program = """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        os._exit(10)
    gevent.spawn(os.write, writer, b"x")
    found, status = os.waitpid(-1, 0)
    print(found == pid, os.waitstatus_to_exitcode(status))
    """
    assert run(program, first=PATCHED) == ["True 10"]


def test_fork_watchers_run_in_the_child_only() -> None:
    program = """
    import gevent.os

    ran = []
    watcher = gevent.get_hub().loop.fork(ref=False)
    watcher.start(ran.append, 1)
    pid = gevent.os.fork_and_watch()
    gevent.sleep(0.001)
    gevent.sleep(0.001)
    if pid == 0:
        os._exit(len(ran))
    print(os.waitstatus_to_exitcode(gevent.os.waitpid(pid, 0)[1]), ran)
    watcher.close()
    """
    assert run(program) == ["1 []"]


def test_a_path_is_watched() -> None:
    program = """
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        watcher = gevent.get_hub().loop.stat(f"{directory}/file", interval=0.01)
        gevent.spawn_later(0.02, lambda: open(f"{directory}/file", "w").close())
        with gevent.Timeout(20):
            gevent.get_hub().wait(watcher)
        print(watcher.prev, watcher.attr.st_size)
        watcher.close()
    """
    assert run(program) == ["None 0"]
