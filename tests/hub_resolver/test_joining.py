"""Who joins equal questions, alone: an asker that answers when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hub_api import IHub
from hub_resolver._answers import CACHE, FOUND, JOINED, NETWORK, A, Answer, Question
from hub_resolver._joining import JoiningAsker

WWW, FTP = Question("www.example.test", A), Question("ftp.example.test", A)


class SlowAsker:
    """Answers when `answer` is called."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.cancelled: list[Question] = []
        self.takes_back = True
        self.closed = False
        self._live: list[tuple[Question, Callable[[Answer], object]]] = []

    def ask(self, question: Question, done: Callable[[Answer], object], /) -> Callable[[], object]:
        if question.name == "bad":
            raise RuntimeError("it cannot be asked")
        self.asked.append(question)
        entry = (question, done)
        self._live.append(entry)
        return partial(self._cancel, entry)

    def _cancel(self, entry: Any) -> bool:
        if self.takes_back and entry in self._live:
            self._live.remove(entry)
        self.cancelled.append(entry[0])
        return self.takes_back

    def close(self) -> None:
        self.closed = True

    def answer(self, via: str = NETWORK) -> None:
        live, self._live = self._live, []
        for question, done in live:
            done(Answer(question, FOUND, data=("192.0.2.1",), ttl=60, via=via))


@pytest.fixture
def slow() -> SlowAsker:
    return SlowAsker()


@pytest.fixture
def joining(hub: IHub, slow: SlowAsker) -> JoiningAsker[Question, Answer]:
    return JoiningAsker(slow, hub.loop)


Joining = JoiningAsker[Question, Answer]


def test_equal_questions_under_way_are_asked_once_and_all_are_told(joining: Joining, slow: SlowAsker) -> None:
    told: list[Answer] = []
    for _ in range(1000):
        joining.ask(WWW, told.append)
    joining.ask(FTP, told.append)
    assert slow.asked == [WWW, FTP]
    slow.answer()
    assert [reply.via for reply in told] == [NETWORK, *[JOINED] * 999, NETWORK]
    assert {reply.data for reply in told} == {("192.0.2.1",)}


def test_after_the_answer_the_same_is_asked_anew(joining: Joining, slow: SlowAsker) -> None:
    told: list[Answer] = []
    joining.ask(WWW, told.append)
    slow.answer()
    joining.ask(WWW, told.append)
    slow.answer()
    assert slow.asked == [WWW, WWW]
    assert len(told) == 2


def test_who_joins_a_cached_answer_is_told_that_it_was_cached(joining: Joining, slow: SlowAsker) -> None:
    told: list[Answer] = []
    joining.ask(WWW, told.append)
    joining.ask(WWW, told.append)
    slow.answer(CACHE)
    assert [reply.via for reply in told] == [CACHE, CACHE]


def test_who_asked_first_may_leave_and_the_others_are_told(joining: Joining, slow: SlowAsker) -> None:
    told: list[Answer] = []
    first = joining.ask(WWW, told.append)
    joining.ask(WWW, told.append)
    first()
    first()
    slow.answer()
    assert (len(told), slow.asked, slow.cancelled) == (1, [WWW], [])
    assert told[0].via == NETWORK


def test_when_the_last_has_left_the_question_is_cancelled(joining: Joining, slow: SlowAsker) -> None:
    told: list[Answer] = []
    leave = [joining.ask(WWW, told.append) for _ in range(3)]
    for each in leave:
        assert slow.cancelled == []
        each()
    assert slow.cancelled == [WWW]
    for each in leave:
        each()  # too late is fine
    assert slow.cancelled == [WWW]
    joining.ask(WWW, told.append)
    assert slow.asked == [WWW, WWW]


def test_a_question_that_cannot_be_taken_back_is_joined_by_who_asks_it_later(joining: Joining, slow: SlowAsker) -> None:
    told: list[Answer] = []
    slow.takes_back = False
    for _ in range(3):
        joining.ask(WWW, told.append)()
    joining.ask(WWW, told.append)
    assert slow.asked == [WWW]
    slow.answer()
    assert len(told) == 1
    assert "under_way=0" in repr(joining)


def test_one_who_raises_when_told_keeps_nobody_from_being_told(
    joining: Joining, slow: SlowAsker, fake_hub: Any
) -> None:
    told: list[Answer] = []

    def fails(reply: Answer) -> None:
        raise ZeroDivisionError

    joining.ask(WWW, fails)
    joining.ask(WWW, told.append)
    joining.ask(WWW, fails)
    joining.ask(WWW, told.append)
    with pytest.raises(ZeroDivisionError):
        slow.answer()
    fake_hub.loop.run(nowait=True)
    fake_hub.loop.run(nowait=True)
    assert len(told) == 2
    assert [type(error) for error in fake_hub.errors] == [ZeroDivisionError]
    fake_hub.errors.clear()


def test_an_interrupt_as_one_is_told_keeps_nobody_from_being_told_and_each_gets_one_of_his_own(
    joining: Joining, slow: SlowAsker, fake_hub: Any
) -> None:
    told: list[Answer] = []
    struck: list[Answer] = []

    def is_struck(reply: Answer) -> None:
        struck.append(reply)
        if len(struck) == 1:
            raise KeyboardInterrupt

    joining.ask(WWW, told.append)
    joining.ask(WWW, is_struck)
    joining.ask(WWW, told.append)
    with pytest.raises(KeyboardInterrupt):
        slow.answer()
    fake_hub.loop.run(nowait=True)
    assert (len(told), len(struck)) == (2, 2)
    assert len({id(reply) for reply in told + struck}) == 4
    assert "under_way=0" in repr(joining)


def test_who_asks_what_an_interrupt_has_half_taken_back_starts_a_new_question(
    joining: Joining, slow: SlowAsker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(entry: Any) -> bool:
        slow._live.remove(entry)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(slow, "_cancel", interrupted)
        leave = joining.ask(WWW, print)
    with pytest.raises(KeyboardInterrupt):
        leave()
    told: list[Answer] = []
    joining.ask(WWW, told.append)
    slow.answer()
    assert len(told) == 1


def test_a_question_that_is_refused_leaves_nothing_under_way(joining: Joining) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot be asked"):
            joining.ask(Question("bad", A), print)
    assert "under_way=0" in repr(joining)


def test_one_who_asks_the_same_when_told_starts_a_new_question(joining: Joining, slow: SlowAsker) -> None:
    told: list[Answer] = []
    joining.ask(WWW, lambda reply: joining.ask(WWW, told.append))
    slow.answer()
    assert (slow.asked, told) == ([WWW, WWW], [])
    slow.answer()
    assert len(told) == 1


def test_a_forked_child_joins_nothing_of_its_parents(joining: Joining, slow: SlowAsker, kin: Any) -> None:
    joining.ask(WWW, print)

    def check() -> None:
        joining.ask(WWW, print)
        assert slow.asked == [WWW, WWW]

    kin.run(check)
    joining.close()
    assert slow.closed
