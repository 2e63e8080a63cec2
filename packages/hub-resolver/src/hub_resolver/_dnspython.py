"""The resolver on dnspython: queries in pure Python, on sockets of our own in our loop.

Receives: questions.  Gives: answers, from name servers.

dnspython makes and reads the packets and says how a query goes, over UDP and then over TCP, in coroutines that work on
any "backend".  This is one: its sockets do not block, and where they would, the coroutine stops and gives a `_Wait` to
the task that runs it, which has a watcher and a timer call back and then runs it on.  No greenlet is parked in there,
so that one lookup can have several questions on their way, and one who gives up takes his coroutine with him.

Which server is asked, how often, and what counts as an answer is decided here, as the C library does: a server that
fails or refuses is passed over, one that is silent is given its time, and twice that in the next round.

Rule 1: each query has a socket, and so a port, of its own; it is connected, so the kernel drops what comes from
elsewhere and tells when nobody is there.  Its id is drawn anew.  An answer with another id or another question does not
count, and waiting goes on.
Rule 2: a coroutine runs in callbacks of the loop; what it raises, or the loop when it is to wait there, ends its
question, as if no server had answered, and nothing else.
Rule 3: an interrupt, KeyboardInterrupt say, may come at any step, and no coroutine outlives it.  Then the question is
asked anew; an answer that is there already is told again.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from functools import partial
from typing import Any

from hub_resolver._answers import AAAA, AGAIN, CNAME, FAILED, NO_DATA, NO_NAME, PTR, A, Answer, Question, Record, Try
from hub_resolver._answers import answer as _answer
from hub_resolver._servers import ServerAsker, ServerResolver, Told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import ModuleType
    from typing import Self

    from hub_api import IHub, IIoWatcher, ILoopCore, ITimerWatcher
    from hub_resolver._files import ResolvConf

_READ, _WRITE = 1, 2
_PAYLOAD = 1232
"""Bytes: what we say we can take in one datagram.  It passes every network whole (DNS flag day 2020)."""


class DnspythonResolver(ServerResolver):
    """Looks names up by dnspython: see `hub_api.IResolver`.

    Needs the extra: `pip install 'hub-resolver[dnspython]'`.
    Call from: greenlets of the hub; elsewhere InvalidThreadUseError.  Switches: while it waits for an answer.
    """

    def _make_asker(self, hub: IHub, told: Told) -> DnspythonAsker:
        return DnspythonAsker(hub, told)


class DnspythonAsker(ServerAsker):
    """Puts questions to name servers by dnspython: see `IAsker`."""

    def __init__(self, hub: IHub, told: Told) -> None:
        self._dns = _import()
        super().__init__(hub, told)
        self._servers = [_server(one) for one in told.servers] if told.servers is not None else None
        self._tasks: set[_Task] = set()
        self._turn = 0
        self._pid = os.getpid()
        self._backend = _Backend(hub.loop, self._dns.exception.Timeout)

    def ask(self, question: Question, done: Callable[[Answer], object], /) -> Callable[[], object]:
        """See `IAsker.ask`."""
        if self._pid != os.getpid():
            self.close()
            self._pid = os.getpid()
        task = _Task(self._loop, question, partial(self._query, question, self._conf.value()), done, self._tasks)
        self._loop.run_callback(task.run)
        self._tasks.add(task)
        return task.cancel

    def close(self) -> None:
        """See `IAsker.close`."""
        for task in list(self._tasks):
            task.cancel()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} asking={len(self._tasks)}>"

    # -- one question -------------------------------------------------------------------------------------------------

    async def _query(self, question: Question, conf: ResolvConf) -> Answer:
        began = time.monotonic()
        tries: list[Try] = []
        try:
            kind = self._dns.rdatatype.RdataType.make(question.type)
            name = self._dns.name.from_text(question.name)
        except self._dns.exception.DNSException as error:
            tries.append(Try("", str(error), 0.0))
            return Answer(question, FAILED, tries=tuple(tries))
        servers = self._servers or [(one, 53) for one in conf.servers]
        if conf.rotate:
            self._turn += 1
            first = self._turn % len(servers)
            servers = servers[first:] + servers[:first]
        first_timeout, rounds = self._patience(conf)
        least = min(1, first_timeout)  # the C library counts in whole seconds; who says less is taken at his word
        for attempt in range(rounds):
            timeout = first_timeout if not attempt else max(least, first_timeout * 2**attempt / len(servers))
            for where, port in servers:
                sent = time.monotonic()
                reply, outcome, over = await self._one_try(name, kind, where, port, timeout, conf.use_vc)
                now = time.monotonic()
                tries.append(Try(f"{where}#{port}", outcome, now - sent, over))
                if outcome == "NOERROR":
                    found = _answer(question, _records(reply, question.type), tuple(tries), now - began)
                    return found._replace(ttl=_negative_ttl(reply)) if found.status == NO_DATA else found
                if reply is not None and outcome not in _USELESS:
                    status = NO_NAME if outcome == "NXDOMAIN" else FAILED
                    holds = _negative_ttl(reply) if status == NO_NAME else None
                    return Answer(question, status, ttl=holds, tries=tuple(tries), elapsed=now - began)
        return Answer(question, AGAIN, tries=tuple(tries), elapsed=time.monotonic() - began)

    async def _one_try(
        self, name: Any, kind: Any, where: str, port: int, timeout: float, use_vc: bool
    ) -> tuple[Any, str, str]:
        """Ask one server once: the response, its code and how it came; or None, what went wrong, and nothing."""
        dns = self._dns
        query = dns.message.make_query(name, kind, use_edns=0, payload=_PAYLOAD)
        try:
            reply, over = await self._exchange(query, where, port, timeout, use_vc)
            if reply.rcode() in (dns.rcode.FORMERR, dns.rcode.BADVERS):  # a server from before EDNS
                query = dns.message.make_query(name, kind, use_edns=False)
                reply, over = await self._exchange(query, where, port, timeout, use_vc)
        except dns.exception.Timeout:
            return None, "timed out", ""
        except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
            return None, str(error) or type(error).__name__, ""
        if len(reply.question) != 1:
            return None, f"{len(reply.question)} questions in the answer to one", over
        return reply, dns.rcode.to_text(reply.rcode()), over

    async def _exchange(self, query: Any, where: str, port: int, timeout: float, use_vc: bool) -> tuple[Any, str]:
        asyncquery = self._dns.asyncquery
        if use_vc:
            return await asyncquery.tcp(query, where, timeout, port, backend=self._backend), "TCP"
        reply, fell_back = await asyncquery.udp_with_fallback(
            query, where, timeout, port, ignore_unexpected=True, ignore_errors=True, backend=self._backend
        )
        return reply, "TCP" if fell_back else "UDP"


_USELESS = {"SERVFAIL", "REFUSED", "NOTIMP"}
"""Response codes that say nothing of the name, but that this server is of no use: another one is asked."""
_SOA = 6
_DATA = {A: "address", AAAA: "address", CNAME: "target", PTR: "target"}


def _records(reply: Any, kind: int) -> list[Record]:
    return [
        Record(_plain(rrset.name), int(rrset.rdtype), rrset.ttl, _plain(getattr(rdata, _DATA[int(rrset.rdtype)])))
        for rrset in reply.answer
        if int(rrset.rdtype) in (kind, CNAME) and int(rrset.rdclass) == 1
        for rdata in rrset
    ]


def _negative_ttl(reply: Any) -> int | None:
    """Seconds for which a "no" holds, or None if the server does not tell (RFC 2308, 5).

    That is the TTL of the zone's SOA record or what stands in it as the least, whichever is less; and no alias on the
    way to the "no" holds longer than its own TTL.
    """
    asked = reply.question[0].name
    for soa in reply.authority:
        if (int(soa.rdtype), int(soa.rdclass)) == (_SOA, 1) and (reply.answer or asked.is_subdomain(soa.name)):
            return min(int(soa.ttl), int(soa[0].minimum), *(int(alias.ttl) for alias in reply.answer))
    return None


def _plain(name: Any) -> str:
    return str(name).removesuffix(".") if not isinstance(name, str) else name


def _server(text: str) -> tuple[str, int]:
    """An address and a port, from `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        return address, int(port[1:] or 53)
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, int(port)
    return text, 53


# -- coroutines in our loop -------------------------------------------------------------------------------------------


class _Wait:
    """What a coroutine stops for: readiness of an fd, for at most so many seconds."""

    __slots__ = ("events", "fd", "timeout")

    def __init__(self, fd: int, events: int, timeout: float | None) -> None:
        self.fd = fd
        self.events = events
        self.timeout = timeout

    def __await__(self) -> Generator[_Wait, bool, bool]:
        return (yield self)


class _Task:
    """A coroutine, run by callbacks of the loop."""

    __slots__ = ("_answer", "_coroutine", "_done", "_loop", "_make", "_question", "_tasks", "_timer", "_watcher")

    def __init__(
        self,
        loop: ILoopCore,
        question: Question,
        make: Callable[[], Coroutine[_Wait, bool | None, Answer]],
        done: Callable[[Answer], object],
        tasks: set[_Task],
    ) -> None:
        self._loop = loop
        self._question = question
        self._make = make
        self._coroutine: Coroutine[_Wait, bool | None, Answer] | None = None
        self._done = done
        self._tasks = tasks
        self._answer: Answer | None = None
        self._watcher: IIoWatcher | None = None
        self._timer: ITimerWatcher | None = None

    def run(self, in_time: bool | None = None) -> None:
        """Run it until it stops or ends."""
        if self not in self._tasks:
            self._stop()  # `cancel` was interrupted
            return
        try:
            self._disarm()
            if self._answer is None:
                self._step(in_time)
            if self._answer is not None:
                self._done(self._answer)
                self._tasks.discard(self)
        except Exception:  # of who was told
            self._tasks.discard(self)
            raise
        except BaseException:  # an interrupt
            self._loop.run_callback(self.run)
            self._stop()
            raise

    def _step(self, in_time: bool | None) -> None:
        try:
            if self._coroutine is None:
                self._coroutine = self._make()
            self._arm(self._coroutine.send(in_time))  # None starts it
        except StopIteration as end:
            self._answer = end.value
        except Exception as error:
            self._stop()
            self._answer = Answer(self._question, AGAIN, tries=(Try("", str(error), 0.0),))
            self._loop.handle_error(self, type(error), error, error.__traceback__)

    def cancel(self) -> None:
        """End it where it stands; its sockets are closed."""
        if self in self._tasks:
            self._tasks.discard(self)
            self._stop()

    def _stop(self) -> None:
        self._disarm()
        if self._coroutine is not None:
            self._coroutine.close()
            self._coroutine = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {self._question!r}>"

    def _arm(self, wait: _Wait) -> None:
        self._watcher = self._loop.io(wait.fd, wait.events)
        self._watcher.start(self.run, True)
        if wait.timeout is not None:
            self._timer = self._loop.timer(max(wait.timeout, 0.0))
            self._timer.start(self.run, False, update=True)

    def _disarm(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        if self._timer is not None:
            self._timer.close()
            self._timer = None


class _Socket:
    """A socket as dnspython's coroutines use one, of either kind; it is connected."""

    def __init__(self, sock: socket.socket, loop: ILoopCore, timed_out: Callable[..., Exception]) -> None:
        self.family = sock.family
        self.type = sock.type
        self._sock = sock
        self._loop = loop
        self._timed_out = timed_out
        self._has_read = False

    async def ready(self, events: int, timeout: float | None) -> None:
        """Stop until it is ready; raises dnspython's Timeout after `timeout` seconds."""
        if not await _Wait(self._sock.fileno(), events, timeout):
            raise self._timed_out(timeout=timeout)

    async def connect(self, where: tuple[str, int], timeout: float | None) -> None:
        """Connect, or raise OSError; a datagram socket is connected at once."""
        failed = self._sock.connect_ex(where)
        if failed == errno.EINPROGRESS:
            await self.ready(_WRITE, timeout)
            failed = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))

    async def sendto(self, what: bytes, destination: object, timeout: float | None) -> int:
        while True:
            try:
                return self._sock.send(what)
            except BlockingIOError:
                await self.ready(_WRITE, timeout)

    async def recvfrom(self, size: int, timeout: float | None) -> tuple[bytes, Any]:
        """One packet a turn, and none once the time is up: bad ones may come faster than they are parsed."""
        if self._has_read:
            if timeout is not None and timeout <= 0:
                raise self._timed_out(timeout=timeout)
            await self.ready(_READ, timeout)
        self._has_read = True
        return await self._receive(size, timeout)

    async def _receive(self, size: int, timeout: float | None) -> tuple[bytes, Any]:
        while True:
            try:
                return self._sock.recvfrom(size)
            except BlockingIOError:
                await self.ready(_READ, timeout)

    async def sendall(self, what: bytes, timeout: float | None) -> None:
        while what:
            what = what[await self.sendto(what, None, timeout) :]

    async def recv(self, size: int, timeout: float | None) -> bytes:
        return (await self._receive(size, timeout))[0]

    async def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.closing_fd(self._sock.fileno())
            self._sock.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Backend:
    """What dnspython's coroutines get their sockets from: as much of `dns.asyncbackend.Backend` as they call."""

    def __init__(self, loop: ILoopCore, timed_out: Callable[..., Exception]) -> None:
        self._loop = loop
        self._timed_out = timed_out

    def datagram_connection_required(self) -> bool:
        return True  # so that we are given the destination, and can connect to it

    async def make_socket(
        self,
        af: int,
        socktype: int,
        proto: int = 0,
        source: object = None,
        destination: Any = None,
        timeout: float | None = None,
    ) -> _Socket:
        sock = socket.socket(af, socktype, proto)
        sock.setblocking(False)
        made = _Socket(sock, self._loop, self._timed_out)
        try:
            await made.connect(destination, timeout)
        except BaseException:
            await made.close()
            raise
        return made


def _import() -> ModuleType:
    try:
        import dns.asyncquery
        import dns.exception
        import dns.message
        import dns.name
        import dns.rcode
        import dns.rdatatype
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "DnspythonResolver needs dnspython, which is not installed: pip install 'hub-resolver[dnspython]'",
            name=error.name,
        ) from error
    return dns
