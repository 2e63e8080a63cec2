"""What counts as an answer: records that the chain of aliases leads to, and no others."""

from __future__ import annotations

import pytest

from hub_resolver._answers import (
    AAAA,
    CNAME,
    DANGLING,
    FOUND,
    NO_DATA,
    PTR,
    A,
    Answer,
    Question,
    Record,
    answer,
    is_host_name,
)

ASKED = Question("www.example", A)


def of(*records: tuple[str, int, str], question: Question = ASKED) -> Answer:
    return answer(question, [Record(name, kind, 60 + i, data) for i, (name, kind, data) in enumerate(records)], (), 0.0)


def test_the_addresses_of_the_name_are_found_in_their_order() -> None:
    found = of(("www.example", A, "192.0.2.2"), ("www.example", A, "192.0.2.1"))
    assert (found.status, found.canonical, found.aliases, found.data) == (
        FOUND,
        "www.example",
        (),
        ("192.0.2.2", "192.0.2.1"),
    )


def test_a_chain_of_aliases_is_followed_whatever_the_order_of_its_records() -> None:
    found = of(("c.example", A, "192.0.2.1"), ("b.example", CNAME, "c.example"), ("WWW.Example", CNAME, "b.example"))
    assert (found.canonical, found.aliases, found.data) == ("c.example", ("www.example", "b.example"), ("192.0.2.1",))


def test_an_answer_holds_as_long_as_its_shortest_record() -> None:
    assert of(("www.example", CNAME, "b.example"), ("b.example", A, "192.0.2.1")).ttl == 60


def test_records_of_another_name_are_no_answer() -> None:
    found = of(("other.example", A, "192.0.2.99"))
    assert (found.status, found.data) == (DANGLING, ())


def test_records_of_another_type_are_no_answer() -> None:
    found = of(("www.example", AAAA, "2001:db8::1"))
    assert (found.status, found.data) == (NO_DATA, ())


@pytest.mark.parametrize(
    "records",
    [
        [("www.example", CNAME, "www.example")],
        [("www.example", CNAME, "b.example"), ("b.example", CNAME, "www.example")],
        [("www.example", CNAME, "b.example"), ("c.example", A, "192.0.2.99")],
    ],
    ids=["itself", "circle", "gap"],
)
def test_aliases_that_lead_nowhere_end(records: list[tuple[str, int, str]]) -> None:
    assert of(*records).status == DANGLING


def test_a_name_that_is_none_of_a_host_is_not_handed_on() -> None:
    through = of(("www.example", CNAME, "<b>.example"), ("<b>.example", A, "192.0.2.1"))
    assert (through.canonical, through.aliases, through.data) == ("www.example", (), ("192.0.2.1",))
    reverse = Question("1.2.0.192.in-addr.arpa", PTR)
    assert of((reverse.name, PTR, "$(reboot).example"), question=reverse).data == ()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("www.example", True), ("_dmarc.a-b", True), ("-x", False), ("a b", False), ("é", False), ("a\\.b", False)],
)
def test_letters_of_host_names(name: str, is_one: bool) -> None:
    assert is_host_name(name) is is_one
