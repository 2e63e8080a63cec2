"""The cache alone: a loop whose clock is moved by hand, and answers made for the purpose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hub_loop import Loop
from hub_loop.testing import ManualClock
from hub_resolver._answers import AGAIN, CACHE, DANGLING, FAILED, FOUND, NO_DATA, NO_NAME, STALE, A, Answer, Question
from hub_resolver._cache import Cache, CacheInfo

WWW = Question("www.example.test", A)
Answers = Cache[Question, Answer]


@pytest.fixture
def time_loop(clock: ManualClock) -> Iterator[Loop]:
    made = Loop("poll", clock=clock)
    yield made
    made.destroy()


def found(question: Question = WWW, ttl: int | None = 60, data: str = "192.0.2.1") -> Answer:
    return Answer(question, FOUND, question.name, (), (data,), ttl, elapsed=0.5)


def keep(cache: Answers, reply: Answer) -> Answer:
    return cache.keep(reply.question, reply, cache.epoch)


def test_an_answer_is_given_until_its_ttl_is_up_with_what_is_left_of_that_and_not_longer(
    time_loop: Loop, clock: ManualClock
) -> None:
    cache: Answers = Cache(time_loop)
    assert cache.known(WWW) is None
    keep(cache, found(ttl=60))
    clock.advance(59.5)
    again = cache.known(WWW)
    assert again is not None
    assert (again.data, again.via, again.ttl, again.tries, again.elapsed) == (("192.0.2.1",), CACHE, 0, (), 0.0)
    clock.advance(0.5)
    assert cache.known(WWW) is None
    assert cache.info() == CacheInfo(hits=1, misses=2, stale=0, maxsize=1000, currsize=0)


def test_a_long_turn_of_the_loop_makes_no_answer_younger(time_loop: Loop, clock: ManualClock) -> None:
    cache: Answers = Cache(time_loop)
    keep(cache, found(ttl=1))
    time_loop.update_now()
    clock.advance(2)  # and nobody but the cache reads the clock
    assert cache.known(WWW) is None


@pytest.mark.parametrize(
    ("status", "ttl", "holds"),
    [
        (FOUND, 60, 60),
        (FOUND, 10**9, 86400),
        (NO_NAME, 60, 60),
        (NO_DATA, 10**9, 10800),
        (FOUND, 0, 0),
        (FOUND, -1, 0),
        (FOUND, None, 0),
        (NO_NAME, None, 0),
        (DANGLING, 60, 0),
        (AGAIN, 60, 0),
        (FAILED, 60, 0),
    ],
)
def test_how_long_an_answer_is_kept(
    time_loop: Loop, clock: ManualClock, status: str, ttl: int | None, holds: int
) -> None:
    cache: Answers = Cache(time_loop)
    reply = Answer(WWW, status, ttl=ttl)
    assert keep(cache, reply) is reply
    if holds:
        clock.advance(holds - 1)
        known = cache.known(WWW)
        assert known is not None
        assert known.status == status
        clock.advance(1)
    assert cache.known(WWW) is None


def test_the_answer_that_was_not_used_for_the_longest_time_makes_room(time_loop: Loop) -> None:
    cache: Answers = Cache(time_loop, size=3)
    names = [Question(f"n{i}.example.test", A) for i in range(4)]
    for each in names[:3]:
        keep(cache, found(each))
    assert cache.known(names[0]) is not None
    keep(cache, found(names[3]))
    assert [cache.known(each) is not None for each in names] == [True, False, True, True]
    assert cache.info().currsize == 3


def test_a_new_answer_takes_the_place_of_the_old_one_even_if_it_is_a_no_that_is_not_kept(time_loop: Loop) -> None:
    cache: Answers = Cache(time_loop, stale=100)
    keep(cache, found(data="192.0.2.1"))
    keep(cache, found(data="192.0.2.2"))
    known = cache.known(WWW)
    assert known is not None
    assert known.data == ("192.0.2.2",)
    keep(cache, Answer(WWW, NO_NAME))
    assert cache.known(WWW) is None
    assert keep(cache, Answer(WWW, AGAIN)).status == AGAIN


def test_without_a_word_nothing_stale_is_given(time_loop: Loop, clock: ManualClock) -> None:
    cache: Answers = Cache(time_loop)
    keep(cache, found(ttl=60))
    clock.advance(60)
    assert keep(cache, Answer(WWW, AGAIN)).status == AGAIN


def test_stale_is_given_only_where_nobody_answers_and_only_for_so_long(time_loop: Loop, clock: ManualClock) -> None:
    cache: Answers = Cache(time_loop, stale=100)
    keep(cache, found(ttl=60))
    clock.advance(159)
    assert cache.known(WWW) is None
    reply = keep(cache, Answer(WWW, AGAIN))
    assert (reply.status, reply.via, reply.ttl, reply.data) == (FOUND, STALE, 0, ("192.0.2.1",))
    assert keep(cache, Answer(WWW, FAILED)).status == FAILED
    clock.advance(1)
    assert keep(cache, Answer(WWW, AGAIN)).status == AGAIN
    assert cache.info() == CacheInfo(hits=0, misses=1, stale=1, maxsize=1000, currsize=1)


def test_a_stale_no_is_no_better_than_an_error(time_loop: Loop, clock: ManualClock) -> None:
    cache: Answers = Cache(time_loop, stale=100)
    keep(cache, Answer(WWW, NO_NAME, ttl=60))
    clock.advance(60)
    assert keep(cache, Answer(WWW, AGAIN)).status == AGAIN


def test_an_answer_to_a_question_from_before_it_was_emptied_is_given_and_not_kept(time_loop: Loop) -> None:
    cache: Answers = Cache(time_loop)
    epoch = cache.epoch
    cache.clear()
    reply = found()
    assert cache.keep(WWW, reply, epoch) is reply
    assert cache.known(WWW) is None


@pytest.mark.parametrize(("size", "error"), [(-1, ValueError), (1.5, TypeError), ("7", TypeError), (True, TypeError)])
def test_a_size_that_is_none_is_refused(time_loop: Loop, size: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="0 for none, got"):
        Cache[Question, Answer](time_loop, size)


@pytest.mark.parametrize("stale", [-1.0, float("nan")])
def test_a_time_for_stale_answers_that_is_none_is_refused(time_loop: Loop, stale: float) -> None:
    with pytest.raises(ValueError, match="0 for never, got"):
        Cache[Question, Answer](time_loop, 1, stale)
