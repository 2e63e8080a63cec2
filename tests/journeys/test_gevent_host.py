"""gevent's programs, unmodified, on this family's loop: each is a process of its own that GEVENT_LOOP points at it.

What a program prints is its result.  Before it starts, and at its end, it looks whether the loop is ours indeed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

if find_spec("gevent") is None:
    pytest.skip("gevent is not installed: it is in the dependency group `host`", allow_module_level=True)

POLLERS = ["epoll", "poll", "select"]

PLAIN = "import os, sys, time, gevent"
PATCHED = "import gevent.monkey; gevent.monkey.patch_all(); import os, sys, time, gevent"
CHECK = """
import hub_loop.gevent
assert type(gevent.get_hub().loop) is hub_loop.gevent.Loop, gevent.get_hub()
assert gevent.get_hub().loop.backend == os.environ.get("HUB_LOOP_BACKEND", gevent.get_hub().loop.backend)
"""


def start(program: str, *, first: str = PLAIN, poller: str = "") -> subprocess.Popen[str]:
    """Start a gevent program on our loop."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GEVENT", "HUB_LOOP"))}
    environment["GEVENT_LOOP"] = "hub_loop.gevent.Loop"
    if poller:
        environment["HUB_LOOP_BACKEND"] = poller
    text = f"{first}\n{CHECK}\n{textwrap.dedent(program)}\n{CHECK}"
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed, and what it complained of; it is ended if it takes far too long."""
    with process:
        try:
            return process.communicate(timeout=50)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, complaints = process.communicate()
            pytest.fail(f"the program does not end; it printed {printed!r} and {complaints!r}")


def run(program: str, *, first: str = PLAIN, poller: str = "") -> list[str]:
    """Run a gevent program to its end.  It must not complain.  Gives the lines that it printed."""
    process = start(program, first=first, poller=poller)
    printed, complaints = finish(process)
    assert (process.returncode, complaints) == (0, ""), complaints
    return printed.splitlines()


# -- greenlets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poller", POLLERS)
def test_greenlets_are_spawned_joined_and_killed(poller: str) -> None:
    program = """
    def work(number):
        try:
            gevent.sleep(0.001 * number)
            return number
        except gevent.GreenletExit:
            print("killed", number)
            raise

    greenlets = [gevent.spawn(work, number) for number in range(5)]
    late = gevent.spawn(work, 100_000)
    later = gevent.spawn_later(30, print, "too late")
    gevent.joinall(greenlets)
    print([greenlet.value for greenlet in greenlets])
    late.kill()
    later.kill()
    print(late.ready(), isinstance(late.value, gevent.GreenletExit), later.ready())
    """
    assert run(program, poller=poller) == ["[0, 1, 2, 3, 4]", "killed 100000", "True True True"]


def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    program = """
    woken = []

    def sleep(seconds):
        gevent.sleep(seconds)
        woken.append(seconds)

    start = time.monotonic()
    gevent.joinall([gevent.spawn(sleep, seconds) for seconds in (0.05, 0.01, 0.03, 0, 0.04, 0.02)])
    print(woken, time.monotonic() - start >= 0.05)
    """
    assert run(program) == ["[0, 0.01, 0.02, 0.03, 0.04, 0.05] True"]


def test_a_thousand_greenlets_in_a_pool_of_a_hundred() -> None:
    program = """
    import gevent.pool

    at_once = [0, 0]

    def work(number):
        at_once[0] += 1
        at_once[1] = max(at_once)
        gevent.sleep(0.001)
        at_once[0] -= 1
        return number

    pool = gevent.pool.Pool(100)
    print(sum(pool.imap_unordered(work, range(1000))), at_once)
    """
    assert run(program) == ["499500 [0, 100]"]


def test_timeouts_cut_off_what_takes_too_long_and_nothing_else() -> None:
    program = """
    from gevent.event import Event

    with gevent.Timeout(30):
        gevent.sleep(0.001)
    with gevent.Timeout(0.01, False):
        gevent.sleep(30)
    try:
        with gevent.Timeout(0.01):
            Event().wait()
    except gevent.Timeout as error:
        print(error)
    print(gevent.with_timeout(0.01, gevent.sleep, 30, timeout_value="nothing"), Event().wait(0.01))
    try:
        gevent.spawn(gevent.sleep, 30).get(timeout=0.01)
    except gevent.Timeout as error:
        print(error)
    """
    assert run(program) == ["0.01 seconds", "nothing False", "0.01 seconds"]


def test_events_queues_semaphores_and_results_pass_between_greenlets() -> None:
    program = """
    from gevent.event import AsyncResult, Event
    from gevent.lock import BoundedSemaphore, RLock
    from gevent.queue import JoinableQueue

    queue, done, go, one = JoinableQueue(2), [], Event(), BoundedSemaphore(1)

    def work():
        go.wait()
        for item in queue:
            with one:
                gevent.sleep(0)
                done.append(item)
            queue.task_done()

    workers = [gevent.spawn(work) for _ in range(3)]
    gevent.spawn(go.set)
    for item in range(20):
        queue.put(item)
    queue.join()
    print(sorted(done) == list(range(20)))
    for worker in workers:
        queue.put(StopIteration)
    gevent.joinall(workers)
    result = AsyncResult()
    gevent.spawn(lambda: 6 * 7).link(result)
    print(result.get(), [greenlet.value for greenlet in gevent.wait([gevent.spawn(int)], count=1)])
    """
    assert run(program) == ["True", "42 [0]"]


def test_what_a_greenlet_raises_is_printed_once_and_the_others_go_on() -> None:
    program = """
    def fail():
        raise ZeroDivisionError("on purpose")

    def fail_in_a_callback():
        raise KeyError("on purpose")

    failed = gevent.spawn(fail)
    gevent.get_hub().loop.run_callback(fail_in_a_callback)
    print(gevent.spawn(lambda: gevent.sleep(0.01) or "went on").get(), repr(failed.exception))
    """
    process = start(program)
    printed, complaints = finish(process)
    assert (process.returncode, printed) == (0, "went on ZeroDivisionError('on purpose')\n")
    assert complaints.count("ZeroDivisionError: on purpose") == 1
    assert complaints.count("KeyError: 'on purpose'") == 1
    assert complaints.count("Traceback") == 2
    assert "<Greenlet at " in complaints
    assert " failed with KeyError" in complaints


def test_an_exception_in_a_watchers_callback_names_the_watcher() -> None:
    program = """
    timer = gevent.get_hub().loop.timer(0)
    timer.start(lambda: 1 / 0)
    gevent.sleep(0.01)
    print("went on", timer.active)
    timer.close()
    """
    process = start(program)
    printed, complaints = finish(process)
    assert (process.returncode, printed) == (0, "went on False\n")
    assert complaints.count("ZeroDivisionError: division by zero") == 1
    assert "<timer at 0x" in complaints


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()", "SystemError('wrong')"])
def test_what_ends_a_program_surfaces_in_the_main_greenlet(error: str) -> None:
    program = f"""
    def end():
        raise {error}

    gevent.get_hub().exception_stream = None
    gevent.spawn(end)
    try:
        gevent.sleep(30)
    except BaseException as error:
        print(repr(error))
    gevent.sleep(0)
    """
    assert run(program) == [error]


def test_a_program_that_waits_for_nothing_is_told_so() -> None:
    program = """
    from gevent.event import Event

    for attempt in range(2):
        try:
            Event().wait()
        except gevent.exceptions.LoopExit as error:
            print(str(error).splitlines()[0], error.hub is gevent.get_hub())
    print(gevent.get_hub().join(), gevent.wait(timeout=1))
    """
    assert run(program, first=PLAIN + ", gevent.exceptions") == ["This operation would block forever True"] * 2 + [
        "True True"
    ]


def test_a_greenlet_that_yields_for_ever_starves_neither_timers_nor_sockets() -> None:
    program = """
    import gevent.socket

    here, there = gevent.socket.socketpair()

    def spin():
        while True:
            gevent.sleep(0)

    spinners = [gevent.spawn(spin) for _ in range(3)]
    echo = gevent.spawn(lambda: there.sendall(there.recv(10)))
    for _ in range(5):
        gevent.sleep(0.001)
    here.sendall(b"hello")
    print(here.recv(10))
    gevent.killall(spinners)
    here.close()
    there.close()
    """
    assert run(program) == ["b'hello'"]


def test_the_switch_interval_bounds_what_callbacks_queue_for_one_another() -> None:
    program = """
    loop = gevent.get_hub().loop
    gevent.setswitchinterval(0.001)
    turns, ran = [], [0]

    def again():
        ran[0] += 1
        if len(turns) < 5:
            loop.run_callback(again)

    check = loop.check()
    check.start(lambda: turns.append(ran[0]))
    loop.run_callback(again)
    gevent.sleep(0.001)
    while len(turns) < 5:
        gevent.sleep(0)
    check.close()
    print(turns[4] > turns[3] > turns[2])
    """
    assert run(program) == ["True"]


# -- hubs -----------------------------------------------------------------------------------------------------------


def test_a_hub_is_destroyed_and_the_next_takes_over_its_loop_without_its_callbacks() -> None:
    program = """
    hub = gevent.get_hub()
    loop = hub.loop
    parked = gevent.spawn(gevent.sleep, 30)
    gevent.sleep(0)
    gevent.spawn(print, "never")
    loop.run_callback(print, "never")
    hub.destroy()
    assert "destroyed" in repr(hub)
    assert gevent.get_hub() is not hub and gevent.get_hub().loop is loop and loop.default
    gevent.sleep(0.001)
    number = loop.ptr
    gevent.get_hub().destroy(destroy_loop=True)
    assert not loop.ptr and not loop.default and gevent.get_hub().loop.ptr not in (0, number)
    gevent.sleep(0.001)
    print("on")
    """
    assert run(program) == ["on"]


def test_what_watches_goes_on_under_the_next_hub_even_if_its_event_was_queued() -> None:
    program = """
    import gevent.socket

    here, there = gevent.socket.socketpair()
    seen = []
    watcher = gevent.get_hub().loop.io(here.fileno(), 1)
    watcher.start(lambda: seen.append(here.recv(1)))
    there.sendall(b"abc")
    # The callback that switches to us stands in the batch before the watcher's event.
    gevent.get_hub().loop.run_callback(gevent.getcurrent().switch)
    gevent.get_hub().switch()
    gevent.get_hub().destroy()
    gevent.sleep(0.001)
    gevent.sleep(0.001)
    gevent.sleep(0.001)
    print(seen)
    watcher.close()
    """
    assert run(program) == ["[b'a', b'b', b'c']"]


def test_a_hub_is_destroyed_inside_the_callback_that_has_switched_away() -> None:
    program = """
    parked = gevent.spawn(gevent.sleep, 30)
    gevent.sleep(0)  # the hub is now inside the callback that has switched to us
    gevent.spawn(print, "never")
    hub = gevent.get_hub()
    hub.loop.timer(0).start(print, "never")
    hub.destroy(destroy_loop=True)
    print(hub.dead, parked.dead)
    gevent.sleep(0.001)
    """
    assert run(program) == ["True False"]


def test_each_thread_has_a_hub_that_ends_with_it_or_is_destroyed_by_another() -> None:
    program = """
    import threading

    hubs = []

    def work(destroy):
        gevent.joinall([gevent.spawn(gevent.sleep, 0.001) for _ in range(3)])
        hubs.append(gevent.get_hub())
        if destroy:
            hubs[-1].destroy()

    before = len(os.listdir("/proc/self/fd"))
    for destroy in (True, False):
        thread = threading.Thread(target=work, args=(destroy,))
        thread.start()
        thread.join()
    assert not hubs[1].loop.default
    hubs[1].destroy()  # its loop is inside a callback that will never return: its thread has ended
    print(all(hub.loop is None for hub in hubs), len(os.listdir("/proc/self/fd")) - before)
    """
    assert run(program) == ["True 0"]


def test_threads_pass_things_to_one_anothers_greenlets() -> None:
    program = """
    import threading
    from gevent.event import AsyncResult
    from gevent.lock import Semaphore

    asked, answered, free = AsyncResult(), AsyncResult(), Semaphore(0)

    def work():
        answered.set(asked.get(timeout=20) * 2)
        free.release()
        greenlet.kill(block=False)
        gevent.get_hub().destroy()

    greenlet = gevent.spawn(gevent.sleep, 30)
    thread = threading.Thread(target=work)
    thread.start()
    asked.set(21)
    print(answered.get(timeout=20))
    free.acquire()
    greenlet.join(20)
    thread.join()
    print(greenlet.dead)
    """
    assert run(program) == ["42", "True"]


def test_the_loop_and_its_callbacks_keep_gevents_interfaces_once_they_are_declared() -> None:
    program = """
    from gevent._interfaces import ICallback, ILoop
    from zope.interface import classImplements
    from zope.interface.verify import verifyObject

    loop = gevent.get_hub().loop
    classImplements(type(loop), ILoop)
    print(verifyObject(ILoop, loop))
    for callback in (loop.run_callback(int), loop.run_callback_threadsafe(int)):
        classImplements(type(callback), ICallback)
        print(verifyObject(ICallback, callback))
    """
    assert run(program) == ["True"] * 3


# -- sockets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poller", POLLERS)
def test_two_hundred_clients_talk_to_a_stream_server(poller: str) -> None:
    program = """
    import gevent.server
    import gevent.socket

    def echo(connection, address):
        while data := connection.recv(4096):
            connection.sendall(data)

    def talk(number):
        with gevent.socket.create_connection(server.address) as client:
            for size in (1, 100, 10_000):
                client.sendall(bytes([number]) * size)
                data = b""
                while len(data) < size:
                    data += client.recv(size)
                assert data == bytes([number]) * size
        return 1

    server = gevent.server.StreamServer(("127.0.0.1", 0), echo, backlog=256)
    server.start()
    greenlets = [gevent.spawn(talk, number) for number in range(200)]
    print(sum(greenlet.get(timeout=40) for greenlet in greenlets))
    server.stop()
    """
    assert run(program, poller=poller) == ["200"]


@pytest.mark.parametrize("poller", POLLERS)
def test_a_socket_that_is_closed_wakes_who_waits_for_it(poller: str) -> None:
    program = """
    import gevent.socket

    here, there = gevent.socket.socketpair()

    def wait():
        try:
            here.recv(1)
        except OSError as error:
            return type(error).__name__, error.errno

    greenlet = gevent.spawn(wait)
    gevent.sleep(0)
    number = here.fileno()
    here.close()
    print(greenlet.get(timeout=20))
    gevent.sleep(0.001)
    again, peer = gevent.socket.socketpair()  # which reuses the number
    assert number in (again.fileno(), peer.fileno())
    gevent.spawn_later(0.001, peer.sendall, b"x")
    print(again.recv(1))
    """
    assert run(program, poller=poller) == ["('cancel_wait_ex', 9)", "b'x'"]


def test_a_datagram_server_answers() -> None:
    program = """
    import gevent.server
    import gevent.socket

    class Server(gevent.server.DatagramServer):
        def handle(self, data, address):
            self.socket.sendto(data[::-1], address)

    server = Server(("127.0.0.1", 0))
    server.start()
    client = gevent.socket.socket(type=gevent.socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", server.server_port))
    for word in (b"one", b"two"):
        client.send(word)
        print(client.recv(10))
    server.stop()
    """
    assert run(program) == ["b'eno'", "b'owt'"]


@pytest.mark.parametrize("poller", POLLERS)
def test_a_wsgi_server_answers_the_standard_librarys_client(poller: str) -> None:
    program = """
    import http.client
    import urllib.request
    from gevent.pywsgi import WSGIServer

    def application(environ, start_response):
        gevent.sleep(0.001)
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode(), body]

    def ask(number):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{number}", timeout=40) as answer:
            return answer.read()

    server = WSGIServer(("127.0.0.1", 0), application, log=None)
    server.start()
    greenlets = [gevent.spawn(ask, number) for number in range(100)]
    print(all(greenlet.get() == b"/%d" % number for number, greenlet in enumerate(greenlets)))
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=40)
    for number in range(3):  # one after the other on one connection
        connection.request("POST", "/post", body=b"x" * 100_000)
        print(len(connection.getresponse().read()))
    connection.close()
    server.stop()
    """
    assert run(program, first=PATCHED, poller=poller) == ["True", "100005", "100005", "100005"]


def test_tls_between_greenlets() -> None:
    program = """
    import socket
    import ssl
    import gevent.server
    import gevent.tests

    where = os.path.dirname(gevent.tests.__file__)

    def echo(connection, address):
        while data := connection.recv(100_000):
            connection.sendall(data)

    files = dict(keyfile=f"{where}/test_server.key", certfile=f"{where}/test_server.crt")
    server = gevent.server.StreamServer(("127.0.0.1", 0), echo, **files)
    server.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(server.address) as plain, context.wrap_socket(plain) as client:
        gevent.spawn(client.sendall, b"x" * 300_000)
        data = b""
        while len(data) < 300_000:
            data += client.recv(100_000)
        print(data == b"x" * 300_000)
    server.stop()
    """
    assert run(program, first=PATCHED) == ["True"]


@pytest.mark.parametrize("poller", POLLERS)
def test_select_poll_and_selectors_wait_in_greenlets(poller: str) -> None:
    program = """
    import select
    import selectors
    import socket

    assert not hasattr(select, "epoll")  # patched away; and the loop has one nevertheless, unless told otherwise
    here, there = socket.socketpair()
    print(select.select([here], [here], [], 20)[1] == [here], select.select([here], [], [], 0.001))
    gevent.spawn_later(0.001, there.send, b"x")
    print(select.select([here], [], [], 20)[0] == [here])
    poller = select.poll()
    poller.register(there, select.POLLIN)
    print(poller.poll(1))
    poller.register(here, 0)
    print(poller.poll(1))
    poller.modify(here, select.POLLIN | select.POLLOUT)
    print(poller.poll(20_000) == [(here.fileno(), select.POLLIN | select.POLLOUT)])
    with selectors.DefaultSelector() as selector:
        selector.register(here, selectors.EVENT_READ, "data")
        print([(key.data, events) for key, events in selector.select(20)])
    """
    assert run(program, first=PATCHED, poller=poller) == [
        "True ([], [], [])",
        "True",
        "[]",
        "[]",
        "True",
        "[('data', 1)]",
    ]


def test_files_and_pipes_are_read_in_greenlets() -> None:
    program = """
    import tempfile
    from gevent.fileobject import FileObjectPosix, FileObjectThread

    reader, writer = os.pipe()
    with FileObjectPosix(reader, "rb") as source, FileObjectPosix(writer, "wb") as sink:
        greenlet = gevent.spawn(source.read, 300_000)
        sink.write(b"x" * 300_000)
        sink.flush()
        print(len(greenlet.get(timeout=20)))
    with tempfile.TemporaryFile() as plain:
        file = FileObjectThread(plain, "w+b", close=False)
        file.write(b"text")
        file.seek(0)
        print(file.read())
    """
    assert run(program) == ["300000", "b'text'"]


def test_a_backdoor_lets_one_look_inside() -> None:
    program = """
    import gevent.backdoor
    import gevent.socket

    server = gevent.backdoor.BackdoorServer(("127.0.0.1", 0), locals={"secret": 42})
    server.start()
    with gevent.socket.create_connection(("127.0.0.1", server.server_port)) as client:
        client.sendall(b"secret + 1\\r\\nquit()\\r\\n")
        text = b""
        while b"43" not in text:
            text += client.recv(1000)
        print("inside")
    server.stop()
    """
    assert run(program) == ["inside"]


# -- threads, resolver, monkey patching -----------------------------------------------------------------------------


def test_the_threadpool_and_the_resolver_work_beside_the_loop() -> None:
    program = """
    import threading
    import gevent.socket
    from gevent.threadpool import ThreadPoolExecutor

    pool = gevent.get_hub().threadpool
    rang = threading.Event()

    def ring():
        for _ in range(5):
            gevent.sleep(0.001)
        rang.set()

    print(pool.apply(threading.get_ident) != threading.get_ident(), sum(pool.map(abs, range(-100, 0))))
    gevent.spawn(ring)
    print(pool.apply(rang.wait, (20,)))  # a worker waits for a greenlet, and a greenlet for the worker
    try:
        pool.apply(lambda: 1 / 0)
    except ZeroDivisionError as error:
        print(error)
    print(gevent.socket.gethostbyname("127.0.0.1"), gevent.socket.getaddrinfo("127.0.0.1", 80)[0][4])
    with ThreadPoolExecutor(2) as executor:
        print(executor.submit(pow, 2, 10).result(timeout=20))
    pool.kill()
    """
    process = start(program)
    printed, complaints = finish(process)
    assert printed.splitlines() == [
        "True 5050",
        "True",
        "division by zero",
        "127.0.0.1 ('127.0.0.1', 80)",
        "1024",
    ]
    assert process.returncode == 0
    assert complaints.count("Traceback") == 1  # the pool's own report of the division


def test_patched_threads_locks_queues_and_timers_are_greenlets() -> None:
    program = """
    import queue
    import threading
    from concurrent.futures import ThreadPoolExecutor

    numbers, done, lock = queue.Queue(), [], threading.RLock()

    def work():
        while (number := numbers.get()) is not None:
            time.sleep(0.001)
            with lock:
                done.append(number)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for number in [*range(100), *[None] * 10]:
        numbers.put(number)
    for thread in threads:
        thread.join()
    print(sorted(done) == list(range(100)))
    rang = threading.Event()
    threading.Timer(0.001, rang.set).start()
    print(rang.wait(20), threading.Event().wait(0.001))
    with ThreadPoolExecutor(4) as executor:
        print(sum(executor.map(abs, range(-10, 0))))
    local = threading.local()
    local.value = 1
    thread = threading.Thread(target=lambda: print(hasattr(local, "value")))
    thread.start()
    thread.join()
    """
    assert run(program, first=PATCHED) == ["True", "True False", "55", "False"]


def test_asyncio_runs_in_a_thread_of_the_pool_beside_a_patched_program() -> None:
    program = """
    import asyncio

    async def main():
        await asyncio.sleep(0.001)
        return "both"

    print(gevent.get_hub().threadpool.apply(asyncio.run, (main(),)))
    """
    assert run(program) == ["both"]


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
