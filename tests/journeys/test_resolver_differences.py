"""The C library and our resolvers, asked the same: the same zone, hosts file and questions, so the same answers.

Worlds are made in namespaces of their own (`resolver_world.py`), so that the C library, which reads only /etc and asks
only port 53, sees our files and our server.  What is asked there is in `resolver_questions.py`.  What differs stands in
docs/reference/resolver-differences.md, case by case with its reason, and that list is exact: a difference that is not
in it fails, and so does one in it that is gone.

Where no namespaces can be made (containers often forbid it) the cases say so and are skipped; the tests in
tests/hub_resolver ask the same fault server and need no namespaces.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.resolver_questions import (
    Question,
    in_the_hosts_file,
    in_the_zone,
    numeric,
    of_address,
    of_faults,
    of_lies,
    of_name,
    of_order,
    of_search,
    of_silence,
    with_a_second_server,
)

pytest.importorskip("pycares", reason="needs the extra hub-resolver[ares]")
pytest.importorskip("dns", reason="needs the extra hub-resolver[dnspython]")

HERE = Path(__file__).resolve().parent
DIFFERENCES = HERE.parents[1] / "docs" / "reference" / "resolver-differences.md"
UNSHARE = ("unshare", "--map-root-user", "--net", "--mount", "--uts", "--kill-child", "--fork")
RESOLVERS = ("AresResolver", "DnspythonResolver")
PATIENCE = 90.0  # seconds for one world

if not DIFFERENCES.exists():
    pytest.skip("the docs are not here: this is not the whole tree", allow_module_level=True)

ZONE = """\
$ORIGIN example.test.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
@ A 192.0.2.80
www A 192.0.2.1
www AAAA 2001:db8::1
www.sub A 192.0.2.31
four A 192.0.2.4
six AAAA 2001:db8::6
many A 192.0.2.11
many A 192.0.2.12
many A 192.0.2.13
many AAAA 2001:db8::11
many AAAA 2001:db8::12
alias CNAME www
alias2 CNAME alias
alias3 CNAME alias2
out CNAME www.elsewhere.test.
dangling CNAME nowhere
text TXT "no address"
under_score A 192.0.2.9
*.wild A 192.0.2.50
UPPER A 192.0.2.51
loop1 CNAME loop2
loop2 CNAME loop1
a.b A 192.0.2.52
xn--bcher-kva A 192.0.2.53
"""
REVERSE = """\
$ORIGIN 2.0.192.in-addr.arpa.
$TTL 300
@ SOA ns.example.test. hostmaster.example.test. 1 3600 600 86400 60
@ NS ns.example.test.
1 PTR www.example.test.
4 PTR four.example.test.
4 PTR second.example.test.
5 CNAME 5.delegated
5.delegated PTR five.example.test.
6 PTR <script>.example.test.
7 PTR hub-host.example.test.
"""
REVERSE6 = """\
$ORIGIN 8.b.d.0.1.0.0.2.ip6.arpa.
$TTL 300
@ SOA ns.example.test. hostmaster.example.test. 1 3600 600 86400 60
@ NS ns.example.test.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR www.example.test.
"""
KNOT = """\
server:
    rundir: {where}
    listen: 127.0.0.1@53
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {where}
template:
  - id: default
    storage: {where}
    journal-content: none
    zonefile-sync: -1
zone:
  - domain: example.test
    file: zone
  - domain: 2.0.192.in-addr.arpa
    file: reverse
  - domain: 8.b.d.0.1.0.0.2.ip6.arpa
    file: reverse6
"""
HOSTS = """\
# a comment
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
10.0.0.1 both.example.test both # and another
fd00::1 both.example.test
10.0.0.2 twice one
10.0.0.3 twice two
fd00::4 only6
10.0.0.5 Upper.Example CamelCase
10.0.0.6
no.address nonsense
10.0.0.300 toobig
10.0.0.7 www.hosts.test  alias.hosts.test\talias2.hosts.test
::ffff:10.0.0.8 mapped
10.0.0.9 same same.example
10.0.0.9 later
"""
NSSWITCH = "hosts: files dns\nservices: files\nprotocols: files\nnetworks: files\npasswd: files\ngroup: files\n"
FIRST = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
LASTING = "nameserver 127.0.0.1\noptions timeout:10 attempts:2\n"
"""For servers that do answer: how busy the machine is makes no difference."""
KNOT_FILES = {"knot.conf": KNOT, "zone": ZONE, "reverse": REVERSE, "reverse6": REVERSE6}
GOOD = """\
good.fault.test A 198.51.100.1
good.fault.test AAAA 2001:db8:51::1
deep.good.fault.test A 198.51.100.2
"""
SEARCHED = """\
www.first.test A 198.51.100.1
www.second.test A 198.51.100.2
www.sub.second.test A 198.51.100.3
only.second.test AAAA 2001:db8:51::2
a.b.c A 198.51.100.4
a.b A 198.51.100.5
a.b.first.test A 198.51.100.6
deep.er.second.test CNAME www.first.test.
www A 198.51.100.8
"""
ORDERED = """\
mixed.order.test A 192.0.2.7
mixed.order.test AAAA 2001:db8::7
fours.order.test A 10.9.9.9
fours.order.test A 10.1.1.1
fours.order.test A 192.0.2.7
fours.order.test A 169.254.7.7
fours.order.test A 127.0.0.7
sixes.order.test AAAA 2001:db8:1::1
sixes.order.test AAAA 2001:db8:0:1::1
sixes.order.test AAAA 2001:db8::1:1
sixes.order.test AAAA fd00::7
sixes.order.test AAAA 2002::7
sixes.order.test AAAA ::1
scopes.order.test AAAA fec0::1
scopes.order.test AAAA fd01::1
scopes.order.test A 10.1.1.1
scopes.order.test A 127.0.0.1
all.order.test A 192.0.2.7
all.order.test A 203.0.113.1
all.order.test AAAA 2001:db8::7
all.order.test AAAA 2001:db9::7
all.order.test AAAA ::1
mapped.order.test AAAA ::ffff:10.1.1.1
mapped.order.test AAAA 2001:db8::7
"""
OWN = [["10.1.1.2", 24], ["192.0.2.200", 24], ["2001:db8::200", 64], ["fd00::200", 64]]

WORLDS: dict[str, dict[str, Any]] = {
    "zone": {
        "questions": in_the_zone(),
        "knot": KNOT_FILES,
        "resolv.conf": LASTING + "search sub.example.test example.test\n",
    },
    "numeric": {"questions": numeric()},
    "hosts": {"questions": in_the_hosts_file(), "server": {"127.0.0.1": ""}, "hosts": HOSTS},
    "faults": {"questions": of_faults(), "server": {"127.0.0.1": GOOD}, "resolv.conf": LASTING + "search fault.test\n"},
    "silence": {"questions": of_silence(), "server": {"127.0.0.1": GOOD}, "resolv.conf": FIRST},
    "lies": {"questions": of_lies(), "server": {"127.0.0.1": GOOD}, "resolv.conf": FIRST},
    "dead first server": {
        "questions": with_a_second_server(),
        "server": {"127.0.0.1": GOOD},
        "resolv.conf": "nameserver 127.0.0.9\n" + LASTING,
    },
    "search": {
        "questions": of_search(),
        "server": {"127.0.0.1": SEARCHED},
        "resolv.conf": LASTING + "search first.test second.test\n",
    },
    "ndots": {
        "questions": of_search(),
        "server": {"127.0.0.1": SEARCHED},
        "resolv.conf": LASTING + "search first.test second.test\noptions ndots:3\n",
    },
    "domain of the host": {
        "questions": of_search(),
        "server": {"127.0.0.1": SEARCHED},
        "hostname": "hub-host.second.test",
    },
    "no server": {
        "questions": [one for name in ("www", "www.example.test") for one in of_name(name)] + of_address("192.0.2.1")
    },
    "dns first": {
        "questions": in_the_hosts_file()[:12],
        "server": {"127.0.0.1": "both.example.test A 198.51.100.1\nlocalhost A 198.51.100.9\n"},
        "hosts": HOSTS,
        "nsswitch.conf": NSSWITCH.replace("files dns", "dns [!UNAVAIL=return] files", 1),
    },
    "order": {"questions": of_order(), "server": {"127.0.0.1": ORDERED}, "addresses": OWN},
    "order by gai.conf": {
        "questions": of_order(),
        "server": {"127.0.0.1": ORDERED},
        "addresses": OWN,
        "gai.conf": "precedence ::ffff:0:0/96 100\nprecedence ::/0 40\nlabel ::/0 1\nlabel 2001:db8:1::/48 9\n",
    },
}


def spelled(question: Question) -> str:
    """The question as the docs spell it."""
    function, args = question
    shown = list(args)
    while function == "getaddrinfo" and len(shown) > 2 and not shown[-1]:
        shown.pop()
    text = f"{function}({', '.join(repr(int(one) if isinstance(one, int) else one) for one in shown)})"
    return re.sub(r"\s", " ", text if len(text) < 90 else text[:86] + "...)")


def as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, tuple):
        return {"tuple": [as_json(one) for one in value]}
    return value


CASES = [
    (world, spelled(question), resolver)
    for world, made in WORLDS.items()
    for question in made["questions"]
    for resolver in RESOLVERS
]


@cache
def why_not(needs_knotd: bool) -> str:
    """Why there can be no such world, or nothing."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        return "namespaces are made by unshare(1) of Linux"
    if platform.libc_ver()[0] != "glibc":
        return "the list of differences is about glibc"
    tried = subprocess.run([*UNSHARE, "mount", "--bind", "/etc", "/etc"], capture_output=True, text=True, timeout=30)
    if tried.returncode:
        return f"no namespaces can be made here: {tried.stderr.strip()}"
    if needs_knotd and shutil.which("knotd") is None:
        return "knotd is not installed"
    return ""


def as_told(made: dict[str, Any]) -> dict[str, Any]:
    """A world, as `resolver_world.py` is told of it."""
    defaults = {"resolv.conf": LASTING, "hosts": "", "nsswitch.conf": NSSWITCH, "gai.conf": ""}
    return {
        "etc": {file: made.get(file, text) for file, text in defaults.items()},
        "knot": made.get("knot"),
        "server": made.get("server"),
        "addresses": made.get("addresses", []),
        "hostname": made.get("hostname", "hub-host"),
        "resolvers": RESOLVERS,
        "questions": [[spelled(one), one[0], [as_json(arg) for arg in one[1]]] for one in made["questions"]],
    }


def visit(names: list[str], where: Path) -> dict[str, Any]:
    """Visit these worlds, in one process; what was said in each, or why there is nothing."""
    missing = {name: why_not("knot" in WORLDS[name]) for name in names}
    there = [name for name in names if not missing[name]]
    told: dict[str, Any] = dict(missing)
    if there:
        where.mkdir(parents=True)
        (where / "worlds.json").write_text(json.dumps({name: as_told(WORLDS[name]) for name in there}))
        command = [*UNSHARE, sys.executable, str(HERE / "resolver_world.py"), str(where)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        told |= json.loads(done.stdout)
    return told


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All worlds, visited once: in few processes, side by side.

    One of them has the worlds in which most of the time is waiting, and that whose gai.conf is its own, for the C
    library reads that once.
    """
    where = tmp_path_factory.mktemp("worlds")
    apart = ["silence", "lies", "order by gai.conf"]
    journeys = [[name for name in WORLDS if name not in apart], apart]
    with ThreadPoolExecutor(len(journeys)) as pool:
        told = pool.map(visit, journeys, (where / str(number) for number in range(len(journeys))))
        return {name: said for one in told for name, said in one.items()}


@cache
def listed() -> dict[tuple[str, str, str], str]:
    """The differences in the docs: world, question and resolver, and the reason."""
    rows = re.findall(r"^\| ([^|]+) \| `(.+?)` \| (\w+) \| (.+) \|$", DIFFERENCES.read_text("utf-8"), re.MULTILINE)
    found: dict[tuple[str, str, str], str] = {}
    for world, question, resolver, reason in rows:
        for one in RESOLVERS if resolver == "both" else (f"{resolver.capitalize()}Resolver",):
            found[world, question.replace("\\|", "|"), one] = reason
    return found


@pytest.mark.timeout(PATIENCE * 2)  # the first of them visits all worlds
@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("world", WORLDS)
def test_the_resolver_says_what_the_c_library_says(
    worlds: dict[str, Any], subtests: pytest.Subtests, world: str, resolver: str
) -> None:
    told = worlds[world]
    if isinstance(told, str):
        pytest.skip(told)
    cases = zip(WORLDS[world]["questions"], told["libc"], told[resolver], strict=True)
    for question, libc, ours in cases:
        with subtests.test(spelled(question)):
            if (world, spelled(question), resolver) in listed():
                assert ours != libc, "it is listed as a difference, and differs no more: take it off the list"
            else:
                assert ours == libc


def test_every_listed_difference_is_a_case_and_has_a_reason() -> None:
    assert set(listed()) <= set(CASES)
    assert all(len(reason.split()) > 3 for reason in listed().values())


def test_there_are_hundreds_of_cases_and_no_two_are_the_same() -> None:
    assert len(CASES) >= 300
    assert len(set(CASES)) == len(CASES)
