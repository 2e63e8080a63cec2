"""Reports, the graph: real deadlocks, whom the things belong to that are waited for, and real orphans."""

from __future__ import annotations

import re
import threading

import pytest
from greenlet import getcurrent, greenlet
from tests.hub_core.locks import Lock
from tests.hub_core.reported import end, named, spawn, stuck, take_both

from hub_core import Hub, LoopExit, Report, Waiter, set_hub, sleep, spawn_raw
from hub_loop import Loop

# -- deadlocks ------------------------------------------------------------------------------------------------------


def test_two_greenlets_on_two_locks_alone_are_both_named_with_both_locks_and_the_cycle(hub: Hub) -> None:
    a, b = Lock("a"), Lock("b")
    both = spawn("alice", take_both, a, b), spawn("bob", take_both, b, a)
    with pytest.raises(LoopExit) as caught:
        Waiter().get()
    report: Report = caught.value.report
    alice, bob = named(report, "alice"), named(report, "bob")
    assert report.cycles == ((alice.number, bob.number),)
    assert alice.wait is not None
    assert bob.wait is not None
    assert (alice.wait.text, alice.wait.owner, alice.wait.owner_state) == ("<Lock b>", bob.number, "parked")
    assert (bob.wait.text, bob.wait.owner, bob.wait.type) == ("<Lock a>", alice.number, "Lock")
    text = str(caught.value)
    assert re.search(
        rf"""Deadlock: 2 greenlets wait for each other
  #{alice.number} 'alice'
    \| waits for <Lock b>, which belongs to
    v
  #{bob.number} 'bob'
    \| waits for <Lock a>, which belongs to
    v
  #{alice.number} 'alice'
""",
        text,
    )
    end(*both)


def test_a_deadlock_beside_a_ticker_shows_in_a_report_that_somebody_asks_for(hub: Hub) -> None:
    a, b = Lock("a"), Lock("b")

    def tick() -> None:
        while True:
            sleep(0.001)

    greenlets = spawn("alice", take_both, a, b), spawn("bob", take_both, b, a), spawn("ticker", tick)
    sleep(0.02)
    report = hub.report()
    assert [{report[number].name for number in cycle} for cycle in report.cycles] == [{"alice", "bob"}]
    assert named(report, "ticker").wait is not None or named(report, "ticker").state == "ready"
    assert report.running is not None
    assert report.running.main
    end(*greenlets)
    assert hub.report().cycles == ()


def test_a_greenlet_that_waits_for_itself_is_a_cycle_of_one(hub: Hub) -> None:
    lock = Lock("mine")

    def twice() -> None:
        with lock, lock:
            pass

    it = spawn("twice", twice)
    report = stuck(hub)
    assert report.cycles == ((named(report, "twice").number,),)
    assert "Deadlock: a greenlet waits for itself" in str(report)
    end(it)


def test_a_chain_that_leads_into_a_cycle_is_no_part_of_it_and_says_where_it_leads(hub: Hub) -> None:
    a, b, c = Lock("a"), Lock("b"), Lock("c")
    greenlets = [spawn("alice", take_both, a, b), spawn("bob", take_both, b, a)]
    greenlets += [spawn("carol", take_both, c, a), spawn("dave", take_both, Lock("d"), c)]
    report = stuck(hub)
    alice, bob, carol, dave = (named(report, name).number for name in ("alice", "bob", "carol", "dave"))
    assert report.cycles == ((alice, bob),)
    assert report[dave].chain == (carol, alice, bob)
    assert f"which leads to #{carol} -> #{alice} -> #{bob}" in str(report)
    end(*greenlets)


def test_two_deadlocks_are_two_cycles(hub: Hub) -> None:
    locks = [Lock(name) for name in "abcdef"]
    pairs = [(0, 1), (1, 0), (2, 3), (3, 4), (4, 2)]
    greenlets = [spawn(f"{one}{two}", take_both, locks[one], locks[two]) for one, two in pairs]
    report = stuck(hub)
    assert sorted(len(cycle) for cycle in report.cycles) == [2, 3]
    end(*greenlets)


def test_a_deadlock_across_two_threads_is_a_cycle_too(hub: Hub) -> None:
    a, b = Lock("a"), Lock("b")
    ready, done = threading.Event(), threading.Event()

    def other() -> None:
        theirs = Hub(Loop())
        set_hub(theirs)
        it = spawn("theirs", a.acquire)
        b.owner = it
        with pytest.raises(LoopExit):
            theirs.switch()
        ready.set()
        done.wait(30)
        end(it)
        theirs.destroy(destroy_loop=True)

    a.owner = mine = spawn("mine", b.acquire)
    thread = threading.Thread(target=other)
    thread.start()
    assert ready.wait(30)
    sleep(0.01)
    report = hub.report()
    done.set()
    thread.join()
    (cycle,) = report.cycles
    assert {report[number].name for number in cycle} == {"mine", "theirs"}
    assert {report[number].thread for number in cycle} == {threading.get_ident(), thread.ident}
    assert "other-hub" in [hint.key for hint in report.hints]
    end(mine)


# -- owners ---------------------------------------------------------------------------------------------------------


def test_an_owner_that_has_died_is_said_to_be_dead(hub: Hub) -> None:
    lock = Lock("forgotten")
    owner = spawn("owner", lock.acquire)
    waiter = spawn("waiter", lock.acquire)
    report = stuck(hub)
    assert owner.dead
    wait = named(report, "waiter").wait
    assert wait is not None
    assert wait.owner_state == "dead"
    assert [hint.key for hint in report.hints] == ["dead-owner"]
    assert report.hints[0].greenlets == (named(report, "waiter").number,)
    assert "'owner', which is dead" in str(report)
    end(waiter)


def test_an_owner_that_runs_or_is_new_says_so(hub: Hub) -> None:
    lock = Lock("mine")
    lock.owner = getcurrent()
    waiter = spawn("waiter", lock.acquire)
    sleep(0)
    wait = named(hub.report(), "waiter").wait
    assert wait is not None
    assert wait.owner_state == "running"
    lock.owner = spawn("new", int)
    wait = named(hub.report(), "waiter").wait
    assert wait is not None
    assert wait.owner_state == "new"
    end(waiter)


def test_an_owner_of_another_kind_is_shown_and_one_that_cannot_be_asked_is_unknown(hub: Hub) -> None:
    class Broken:
        @property
        def owner(self) -> object:
            raise OSError("gone")

    class Foreign:
        owner = "the cat"

    class Deep:
        @property
        def owner(self) -> object:
            return self.owner

    def wait(reason: object) -> None:
        waiter = Waiter()
        waiter.reason = reason
        waiter.get()

    kinds = {"broken": Broken(), "foreign": Foreign(), "deep": Deep()}
    greenlets = [spawn(name, wait, kind) for name, kind in kinds.items()]
    report = stuck(hub)
    texts = {each.name: each.wait and each.wait.owner_text for each in report.greenlets if each.name in kinds}
    assert texts == {
        "broken": "unknown: asking for it raised OSError",
        "foreign": "'the cat'",
        "deep": "unknown: asking for it raised RecursionError",
    }
    end(*greenlets)


# -- orphans --------------------------------------------------------------------------------------------------------


def test_a_waiter_that_nobody_else_holds_is_an_orphan_for_certain(hub: Hub) -> None:
    it = spawn("orphan", lambda: Waiter().get())
    report = stuck(hub)
    (orphan,) = report.orphans
    assert report[orphan.greenlet].name == "orphan"
    assert (orphan.verdict, orphan.text) == ("certain", "nobody else holds this waiter")
    assert "'orphan': nobody else holds this waiter (certain)" in str(report)
    end(it)


def test_a_waiter_that_somebody_holds_is_no_orphan_wherever_that_is(hub: Hub) -> None:
    held: list[Waiter] = []

    def in_a_list() -> None:
        waiter = Waiter()
        held.append(waiter)
        waiter.get()

    def in_a_function() -> None:
        waiter = Waiter()
        held.append(lambda: waiter)  # type: ignore[arg-type]  # whatever may hold one
        waiter.get()

    def in_a_method() -> None:
        waiter = Waiter()
        held.append(waiter.switch)  # type: ignore[arg-type]  # whatever may hold one
        waiter.get()

    def in_the_loop() -> None:
        waiter = Waiter()
        with hub.loop.timer(60) as timer:
            timer.start(waiter.switch)
            waiter.get()

    greenlets = [spawn_raw(each) for each in (in_a_list, in_a_function, in_a_method, in_the_loop)]
    sleep(0.001)
    assert hub.report().orphans == ()
    held.clear()
    sleep(0)
    orphans = {hub.report()[orphan.greenlet].name.rpartition(".")[2] for orphan in hub.report().orphans}
    assert orphans == {"in_a_list", "in_a_method"}, "a shared variable is not held by its wait alone, for all we know"
    end(*greenlets)


def test_an_orphan_is_found_again_and_looking_at_it_does_not_save_it(hub: Hub) -> None:
    it = spawn_raw(lambda: Waiter().get())
    sleep(0)
    assert [len(hub.report().orphans) for _ in range(3)] == [1, 1, 1]
    end(it)


def test_a_watcher_that_somebody_stopped_leaves_an_orphan(hub: Hub) -> None:
    with hub.loop.timer(60) as timer:
        it = spawn("waiter", hub.wait, timer)
        sleep(0)
        assert hub.report().orphans == ()
        timer.stop()
        (orphan,) = stuck(hub).orphans
        assert orphan.verdict == "certain"
        end(it)


def test_a_thing_that_only_stuck_greenlets_hold_is_a_suspect(hub: Hub) -> None:
    def holders() -> list[greenlet]:
        lock = Lock("lost")
        lock.acquire()
        lock.owner = None
        spawned = [spawn("one", wait_for, lock), spawn("two", wait_for, lock)]
        sleep(0)
        return spawned

    def wait_for(lock: Lock) -> None:
        waiter = Waiter()
        waiter.reason = lock
        lock.waiters.append(waiter)
        waiter.get()

    greenlets = holders()
    report = stuck(hub)
    one, two = named(report, "one").number, named(report, "two").number
    verdicts = {orphan.greenlet: (orphan.verdict, orphan.text) for orphan in report.orphans}
    text = "nobody else holds the object that it waits for but #{}, which nobody can wake either"
    assert verdicts == {one: ("suspect", text.format(two)), two: ("suspect", text.format(one))}
    end(*greenlets)


def test_a_thing_that_a_sleeper_holds_is_no_suspect(hub: Hub) -> None:
    def both() -> list[greenlet]:
        lock = Lock("used")
        spawned = [spawn("holder", hold, lock), spawn("waiter", lock.acquire)]
        sleep(0)
        return spawned

    def hold(lock: Lock) -> None:
        with lock:
            sleep(60)

    greenlets = both()
    report = hub.report()
    assert report.orphans == ()
    wait = named(report, "waiter").wait
    assert wait is not None
    assert wait.owner == named(report, "holder").number
    end(*greenlets)


def test_a_thing_that_only_its_own_wait_holds_is_a_suspect(hub: Hub) -> None:
    def wait() -> None:
        lock = Lock("own")
        waiter = Waiter()
        waiter.reason = lock
        lock.waiters.append(waiter)
        waiter.get()

    it = spawn("it", wait)
    (orphan,) = stuck(hub).orphans
    assert (orphan.verdict, orphan.text) == ("suspect", "nobody else holds the object that it waits for")
    end(it)


def test_a_thing_that_a_greenlet_holds_which_may_be_woken_is_no_suspect(hub: Hub) -> None:
    held: list[object] = []

    def wait_for(thing: object, also: object) -> None:
        waiter = Waiter()
        waiter.reason = thing
        held.append(waiter)
        waiter.get()
        assert also

    def both() -> list[greenlet]:
        lost, known = Lock("lost"), Lock("known")
        held.append(known)
        spawned = [spawn("stuck", wait_for, lost, 1), spawn("wakeable", wait_for, known, lost)]
        sleep(0)
        return spawned

    greenlets = both()
    report = hub.report()
    assert {named(report, name).state for name in ("stuck", "wakeable")} == {"parked"}
    assert report.orphans == ()
    held.clear()
    assert {report[each.greenlet].name for each in hub.report().orphans} == {"stuck", "wakeable"}
    end(*greenlets)
