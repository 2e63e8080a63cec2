"""The resolver on c-ares: queries by the C library c-ares, driven by watchers of our loop and one timer.

Receives: questions.  Gives: answers, from name servers, by way of pycares.

c-ares is asked for single questions only; the hosts file, the search list and the order of addresses are `_lookups`',
so that they are the same here and on dnspython.  c-ares does what is done on the wire: ids and ports that nobody can
guess, retries, the next server, TCP when an answer does not fit, EDNS.  It also keeps answers for as long as their TTL
says, and offers no way to turn that off.

Facts that force what stands here (c-ares 1.34, pycares 5):
- c-ares may call back inside `query` and `cancel`, with its lock held and its frames on the stack, and what a callback
  raises, an interrupt too, is printed by cffi and lost.  So ours only puts down what came, in one step, and whoever has
  called c-ares has the loop tell it afterwards.  Between c-ares and ours is code of pycares: an interrupt there is lost
  with the answer.  Such a question is put again once c-ares has no other, or else ends when its time is up; and if
  c-ares asks on sockets that we know nothing of, another channel is opened.
- It tells of each socket that it opens and, before it closes it, that it is done with it: then the fd leaves the loop.
- `close` hands the channel to a thread of pycares, which cancels what is under way and calls back there.  So everything
  is cancelled here first, and a channel that was given up is not listened to.
- A server that has been quick is given 250 ms at first, whatever timeout was asked for, and twice that in each round;
  only a server that is not known yet is given the timeout.  So there are at least six rounds, and how long a question
  may take in all is watched here.  To ask c-ares when it wants to be woken is dear, and no sooner than after those 250
  ms (or the timeout, if that is less) does it: so the timer is set to that without asking, and it is asked when that is
  up.
- There is no cancelling of one query.  One that nobody waits for goes on, and its answer is dropped; when nobody waits
  for any, all are cancelled.
- A channel asks the same servers all its life, and what it keeps cannot be cleared.  So if either shall change, another
  is opened for the questions that come, and the old one goes when nobody waits for it any more.
- A forked child has the parent's sockets: if it read from them it would take the parent's answers.  So a channel is
  used by the process that made it only.

Rule: an interrupt may come at any step (docs/explain/shutdown.md).  While somebody waits the channel has a timer, and
what was cut short is done again by it, or by the loop.
"""

from __future__ import annotations

import os
import time
from _thread import get_ident
from collections import deque
from functools import partial
from math import inf
from typing import Any

from hub_resolver._answers import AAAA, AGAIN, CNAME, FAILED, NO_DATA, NO_NAME, PTR, A, Answer, Question, Record, Try
from hub_resolver._answers import answer as _answer
from hub_resolver._servers import ServerAsker, ServerResolver, Told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from hub_api import IHub, IIoWatcher, ITimerWatcher
    from hub_resolver._files import ResolvConf

_READ, _WRITE = 1, 2
_FEWEST_TRIES = 6
_SOONEST = 0.25


class AresResolver(ServerResolver):
    """Looks names up by c-ares: see `hub_api.IResolver`.

    Needs the extra: `pip install 'hub-resolver[ares]'`.
    Call from: greenlets of the hub; elsewhere InvalidThreadUseError.  Switches: while it waits for an answer.
    """

    def _make_asker(self, hub: IHub, told: Told) -> AresAsker:
        self._ares = AresAsker(hub, told)
        return self._ares

    def cache_clear(self) -> None:
        """Forget all answers, c-ares' own too; what is under way is answered, and not kept by us.

        Call from: the hub's thread.  Switches: never.
        """
        super().cache_clear()
        self._ares.forget()


class _Channel:
    """A c-ares channel, its sockets in the loop, and who waits for what of it."""

    __slots__ = (
        "cares", "closed", "conf", "due", "live", "news", "outdated", "patience", "pid", "servers", "soonest", "timers",
        "watchers",
    )  # fmt: skip

    def __init__(self, conf: ResolvConf, servers: Sequence[str], soonest: float, patience: float) -> None:
        self.conf = conf
        self.servers = servers[0] if len(servers) == 1 else f"one of {', '.join(servers)}"
        """Who is asked: of several c-ares does not say which it was."""
        self.soonest = soonest
        """Seconds that a query has at the least before c-ares sends it again."""
        self.patience = patience
        """Seconds until a question is given up."""
        self.pid = os.getpid()
        self.cares: Any = None
        self.watchers: dict[int, IIoWatcher] = {}
        self.timers: list[ITimerWatcher] = []
        """The one that wakes c-ares, and before it what interrupts have left over."""
        self.due = inf
        """When it fires, on the clock of `_Query.began`."""
        self.live: dict[_Query, None] = {}  # the oldest first
        self.news: deque[tuple[_Query, Any, int | None]] = deque()
        """What c-ares has told and the loop is still to tell: results and errors."""
        self.closed = False
        self.outdated = False
        """Whether it shall be asked nothing more: what it keeps is not wanted, or a socket of its is not watched."""


class _Query:
    __slots__ = ("answered", "began", "done", "question")

    def __init__(self, question: Question, done: Callable[[Answer], object]) -> None:
        self.question = question
        self.done = done
        self.began = time.monotonic()
        self.answered = False
        """Whether c-ares has told what became of it, and it is about to be told: it is not late any more."""


class AresAsker(ServerAsker):
    """Puts questions to name servers by c-ares: see `IAsker`."""

    def __init__(self, hub: IHub, told: Told) -> None:
        self._pycares = _import()
        super().__init__(hub, told)
        self._channel: _Channel | None = None
        """The one that is asked."""
        self._channels: dict[_Channel, None] = {}
        """With those that were asked before and still are to answer, the oldest first."""

    def ask(self, question: Question, done: Callable[[Answer], object], /) -> Callable[[], object]:
        """See `IAsker.ask`."""
        try:
            channel = self._current()
        except (self._pycares.AresError, UnicodeError) as refused:  # nobody understands how a server is written
            reply = Answer(question, AGAIN, tries=(Try("", str(refused.args[-1]), 0.0),))
            return self._loop.run_callback(done, reply).stop
        query = _Query(question, done)
        channel.live[query] = None
        try:
            self._put(channel, query)
            self._wake_by(channel, query.began + channel.soonest, channel.soonest)
        except BaseException:
            channel.live.pop(query, None)
            raise
        return lambda: self._cancel(channel, query)

    def _put(self, channel: _Channel, query: _Query) -> None:
        def came(result: Any, error: int | None) -> None:
            query.answered = True  # and no call between this and what makes it true
            channel.news.append((query, result, error))

        name, kind = query.question
        try:
            channel.cares.query(name or ".", kind, callback=came)
        except self._pycares.AresError as refused:
            came(None, refused.args[0])
        self._post(channel)

    def forget(self) -> None:
        """Have c-ares forget what it keeps; what is under way is answered."""
        if self._channel is not None:
            self._channel.outdated = True

    def close(self) -> None:
        """See `IAsker.close`."""
        self._channel = None
        for channel in list(self._channels):
            self._give_up(channel)

    def __repr__(self) -> str:
        asking = sum(len(channel.live) for channel in self._channels)
        state = f"asking={asking}" if self._channels else "idle"
        return f"<{type(self).__name__} at {id(self):#x} {state}>"

    # -- the channel --------------------------------------------------------------------------------------------------

    def _current(self) -> _Channel:
        conf = self._conf.value()
        channel = self._channel
        if channel is not None and channel.pid != os.getpid():
            self.close()
            channel = None
        if channel is None or channel.outdated or channel.conf != conf:
            old, channel = channel, self._open(conf)
            self._channels[channel] = None
            self._channel = channel
            if old is not None and not old.live:
                self._rest(old)
        return channel

    def _open(self, conf: ResolvConf) -> _Channel:
        servers = [_server(one) for one in self._told.servers or conf.servers]
        timeout, tries = self._patience(conf)
        # What the C library would wait: each round twice as long as the one before, and shared out among the servers.
        patience = timeout * len(servers) + sum(timeout * 2.0**i for i in range(1, tries))
        channel = _Channel(conf, servers, max(0.001, min(timeout, _SOONEST)), patience)
        channel.cares = self._pycares.Channel(
            flags=self._pycares.ARES_FLAG_EDNS | (self._pycares.ARES_FLAG_USEVC if conf.use_vc else 0),
            servers=servers,
            timeout=timeout,
            tries=max(tries, _FEWEST_TRIES),
            rotate=conf.rotate,
            sock_state_cb=partial(self._socket_is, channel),
        )
        return channel

    def _give_up(self, channel: _Channel) -> None:
        """Cancel what is under way, take its sockets out of the loop, and let the channel go."""
        channel.closed = True
        channel.live.clear()
        self._sleep(channel)
        channel.cares.cancel()  # calls back at once, and closes the sockets; `close` alone would do so in a thread
        for fd in list(channel.watchers):
            self._leave(channel, fd)
        self._channels.pop(channel, None)
        channel.cares.close()

    def _rest(self, channel: _Channel) -> None:
        """Nobody waits for it: let its timer be, and all of it if it is not asked any more."""
        self._sleep(channel)
        if channel is not self._channel:
            self._give_up(channel)

    def _cancel(self, channel: _Channel, query: _Query) -> None:
        if query in channel.live:
            del channel.live[query]
            if not channel.live and not channel.closed:
                self._cancel_all(channel)

    def _cancel_all(self, channel: _Channel) -> None:
        self._rest(channel)
        if not channel.closed:
            channel.cares.cancel()
            channel.news.clear()  # that they were cancelled

    def _post(self, channel: _Channel) -> None:
        """Have the loop tell what c-ares has told.  What was posted twice, for an interrupt came, is told once."""
        news = channel.news
        while news:
            self._loop.run_callback(self._deliver, channel, *news[0])
            del news[0]

    def _deliver(self, channel: _Channel, query: _Query, result: Any, error: int | None) -> None:
        if query not in channel.live:
            return
        done: Callable[[Answer], object] | None = None
        try:
            reply = self._answer(channel.servers, query, result, error)
            done = query.done
            done(reply)
        except BaseException as raised:
            query.answered = False  # if it cannot even be told again, it ends when its time is up
            if _may_repeat(done, raised):
                self._loop.run_callback(self._deliver, channel, query, result, error)
            elif done is not None:
                channel.live.pop(query, None)
            raise
        channel.live.pop(query, None)  # last: from here on nobody tells it
        if not channel.live and not channel.closed:
            self._rest(channel)

    # -- c-ares in our loop -------------------------------------------------------------------------------------------

    def _socket_is(self, channel: _Channel, fd: int, read: bool, write: bool) -> None:
        """Called by c-ares, from inside: a socket of its own is to be watched for this, or is about to be closed."""
        events = (_READ if read else 0) | (_WRITE if write else 0)
        try:
            self._watch(channel, fd, events)
        except BaseException as error:  # what comes out of here is printed by cffi and lost
            try:
                if not isinstance(error, Exception):  # an interrupt, and c-ares says this once
                    self._watch(channel, fd, events)
            finally:
                self._loop.handle_error(self, type(error), error, error.__traceback__)

    def _watch(self, channel: _Channel, fd: int, events: int) -> None:
        """Watch a socket for this from now on, or for nothing.  May be done again, wherever it was interrupted."""
        if get_ident() != self._hub.thread_ident:
            return  # the thread of pycares frees a channel that was given up; nothing of it is in the loop any more
        if not events:
            self._leave(channel, fd)
            return
        if channel.closed:
            return
        watcher = channel.watchers.get(fd)
        if watcher is not None and watcher.events != events:
            watcher.close()
            del channel.watchers[fd]
            watcher = None
        if watcher is None:
            watcher = channel.watchers[fd] = self._loop.io(fd, events)
        watcher.start(self._ready, channel, fd, pass_events=True)

    def _leave(self, channel: _Channel, fd: int) -> None:
        watcher = channel.watchers.get(fd)
        if watcher is not None:
            watcher.close()
            self._loop.closing_fd(fd)
            channel.watchers.pop(fd, None)

    def _ready(self, events: int, channel: _Channel, fd: int) -> None:
        if channel.closed:
            return
        bad = self._pycares.ARES_SOCKET_BAD
        try:
            channel.cares.process_fd(fd if events & _READ else bad, fd if events & _WRITE else bad)
            self._post(channel)
            if channel.live:  # it may have asked again, another server or over TCP
                self._wake_by(channel, time.monotonic() + channel.soonest, channel.soonest)
        except BaseException as error:
            if not isinstance(error, Exception):  # an interrupt, and the loop tells once that a socket is ready
                self._loop.run_callback(self._ready, events, channel, fd)
            raise

    def _due(self, channel: _Channel) -> None:
        channel.due = inf
        try:
            self._look(channel)
        except BaseException:  # an interrupt, or what somebody who was answered has raised: the others wait on
            if channel.live and not channel.closed:
                self._wake_by(channel, time.monotonic() + channel.soonest, channel.soonest)
            raise

    def _look(self, channel: _Channel) -> None:
        if channel.closed:
            return
        bad = self._pycares.ARES_SOCKET_BAD
        channel.cares.process_fd(bad, bad)
        self._post(channel)
        long_ago = time.monotonic() - channel.patience
        for query in [query for query in channel.live if query.began <= long_ago and not query.answered]:
            self._deliver(channel, query, None, self._pycares.errno.ARES_ETIMEOUT)
        if channel.closed:
            return
        if not channel.live:
            self._cancel_all(channel)
            return
        now = time.monotonic()
        after = channel.cares.timeout()
        if not after:  # nothing is pending: the answers are in the loop's queue, or were lost
            after = channel.soonest
            for query in [query for query in channel.live if not query.answered]:
                self._put(channel, query)
        elif not channel.watchers:  # something is, on a socket that an interrupt in pycares has kept from us
            channel.outdated = True
        oldest = next(iter(channel.live))
        after = min(after, max(0.0, oldest.began + channel.patience - now))
        self._wake_by(channel, now + after, after)

    def _wake_by(self, channel: _Channel, due: float, after: float) -> None:
        """Wake c-ares at `due`, `after` seconds from now, unless it is woken before that anyhow."""
        if due < channel.due:
            timer = self._loop.timer(after)
            channel.timers.append(timer)
            timer.start(self._due, channel, update=True)
            channel.due = due  # last: until then the old one is to be had
            while channel.timers[0] is not timer:
                channel.timers[0].close()
                del channel.timers[0]

    def _sleep(self, channel: _Channel) -> None:
        """Let the timer be, for nobody waits for anything."""
        channel.due = inf  # first: if an interrupt comes now, any wish for a timer makes a new one
        while channel.timers:
            channel.timers[0].close()
            del channel.timers[0]

    # -- answers ------------------------------------------------------------------------------------------------------

    def _answer(self, servers: str, query: _Query, result: Any, error: int | None) -> Answer:
        elapsed = time.monotonic() - query.began
        if error is not None:
            name = self._pycares.errno.errorcode.get(error, str(error))
            words = self._pycares.errno.strerror(error)
            status = _STATUSES.get(name, AGAIN)
            return Answer(query.question, status, tries=(Try(servers, words, elapsed),), elapsed=elapsed)
        records = [
            Record(_plain(one.name), one.type, one.ttl, _data(one))
            for one in result.answer
            if one.type in _DATA and one.record_class == self._pycares.QUERY_CLASS_IN
        ]
        return _answer(query.question, records, (Try(servers, "NOERROR", elapsed),), elapsed)


_STATUSES = {
    "ARES_ENODATA": NO_DATA,
    "ARES_ENOTFOUND": NO_NAME,
    "ARES_EFORMERR": FAILED,
    "ARES_EBADNAME": FAILED,
    "ARES_EBADQUERY": FAILED,
}
"""What errors mean; those that are not here, that nobody could be asked, or gave an answer that counts."""
_DATA = {A: "addr", AAAA: "addr", CNAME: "cname", PTR: "dname"}


def _may_repeat(done: Callable[[Answer], object] | None, error: BaseException) -> bool:
    """Whether a question's end is to be told again: an interrupt came, and `done` (None: not called yet) allows it.

    One of this package does: it takes up what was interrupted.  Any other function does if nothing of it was done, for
    the interrupt came as it was entered, at its first instruction; after a function in C it has been called.
    """
    if isinstance(error, Exception):
        return False
    if done is None or str(getattr(getattr(done, "func", done), "__module__", None)).startswith("hub_resolver."):
        return True
    entered = None if error.__traceback__ is None else error.__traceback__.tb_next
    if entered is None:
        return False
    import opcode  # at an interrupt, and not before

    entry: int = entered.tb_frame.f_code.co_code[::2].find(opcode.opmap["RESUME"])
    return entered.tb_lasti <= 2 * entry


def _server(text: str) -> str:
    """An address and perhaps a port as c-ares wants them: `[address]:port%zone`, where others have the zone inside."""
    if not text.startswith("[") and text.count(":") > 1:
        text = f"[{text}]"
    address, percent, rest = text.partition("%")
    zone, bracket, port = rest.partition("]")
    return address + bracket + port + percent + zone


def _data(record: Any) -> str:
    return _plain(getattr(record.data, _DATA[record.type]))


def _plain(name: str | bytes) -> str:
    """Pycares gives bytes where a name is not ASCII."""
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    return text.removesuffix(".")


def _import() -> ModuleType:
    try:
        import pycares
        import pycares.errno
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "AresResolver needs pycares, which is not installed: pip install 'hub-resolver[ares]'", name=error.name
        ) from error
    module: ModuleType = pycares
    return module
