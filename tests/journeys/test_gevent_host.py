"""gevent's programs on our loop: greenlets and what they wait for, their hubs, and threads beside them."""

from __future__ import annotations

import pytest
from tests.journeys.gevent_programs import PATCHED, PLAIN, POLLERS, finish, run, start

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
