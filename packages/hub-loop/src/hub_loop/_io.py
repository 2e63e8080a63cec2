"""File descriptors: one registration per fd, and the io watchers that stand on it.

Receives: `(fd, events)` from the poller, `start`/`stop` from watchers, `want`/`clear` from an owner.  Gives: queued
watchers, and `notify(events)` to the owner.

Three kinds of users, one record per fd:

- Strangers' fds: io watchers.  The kernel is asked for the union of what active watchers want and reports states, so
  a watcher calls back in every turn in which its fd is ready.  Wanting more is told to the kernel at once, so that its
  refusal is an error at the call; wanting less only when an event comes that nobody wants.  Stop and start around each
  wait so cost no system call.
- The loop's own machinery, `InternalFd`: a function is called in each turn in which the fd is readable.
- An owner's fd: `Loop.register`.  Where the poller can, the kernel is asked once, for changes in both directions, and
  is never asked again; readiness is latched in `ready`.  Where it cannot (poll, select), what is wanted is armed and
  disarmed.

Rule 1: nobody but this file talks to a poller about fds.
Rule 2: an fd leaves here before it is closed (`Loop.closing_fd`, `Registration.close`).  After that nothing of the
old file is delivered, whatever number the kernel gives to the next one.
Rule 3: `fd` of a registration or watcher that has left is -1.
"""

from __future__ import annotations

import fcntl
from _thread import get_ident

from hub_api import READ, WRITE
from hub_loop._callback import struck_at_entry
from hub_loop._watcher import Watcher
from hub_loop.pollers import BOTH, EDGE, INVALID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, TypeVarTuple, overload

    from hub_loop._loop import Loop
    from hub_loop.pollers import Poller

    Ts = TypeVarTuple("Ts")


class Registration:
    """One fd's place in the poller: see `hub_api.IRegistration`."""

    __slots__ = ("_always", "_armed", "_loop", "_notify", "_poller", "_stuck", "_wanted", "_watchers", "fd", "ready")

    def __init__(self, loop: Loop, poller: Poller, fd: int) -> None:
        self._loop = loop
        self._poller = poller
        self.fd: int = fd
        self.ready: int = 0
        self._notify: Callable[[int], object] | None = None
        self._wanted = 0
        self._watchers: list[Io] = []
        self._armed = 0
        self._stuck = 0  # bits of `ready` that no `clear` may touch
        self._always = False

    # -- the owner's side -------------------------------------------------------------------------------------------

    def want(self, events: int) -> None:
        """Have `notify` called once for each of `events` at its next edge: see `hub_api.IRegistration.want`."""
        loop = self._loop
        if get_ident() != loop._thread or self.fd < 0 or not 0 < events <= BOTH:
            self._refuse_want(events)
        wanted = self._wanted
        self._wanted = wanted | events
        if not wanted:
            loop._refs += 1  # who waits for this fd keeps the loop running
        if not self._armed & EDGE:
            self._arm()

    def _refuse_want(self, events: int) -> None:
        if get_ident() != self._loop._thread:
            self._loop._refuse(
                f"wait for fd {self.fd}", "run_callback_threadsafe, or a registration of this thread's loop"
            )
        if self.fd < 0:
            raise ValueError(f"cannot wait for {self!r}: its fd has left the loop; register the new fd")
        if not 0 < events <= BOTH:
            raise ValueError(f"events must be READ (1), WRITE (2) or READ|WRITE (3), got {events!r}")

    def unwant(self, events: int) -> None:
        """Take a `want` back."""
        if get_ident() != self._loop._thread and self._loop._thread:
            self._loop._refuse(
                f"stop waiting for fd {self.fd}", "run_callback_threadsafe, or a registration of this thread's loop"
            )
        if self._wanted:
            self._wanted &= ~events
            if not self._wanted:
                self._loop._refs -= 1
                if self._loop.sleeping:  # as in Loop.unref
                    self._loop.wakeup()

    def clear(self, events: int) -> None:
        """The owner saw that `events` are not ready any more."""
        if get_ident() != self._loop._thread and self._loop._thread:
            self._loop._refuse(
                f"clear fd {self.fd}", "run_callback_threadsafe, or a registration of this thread's loop"
            )
        self.ready &= ~events | self._stuck

    def close(self) -> None:
        """Leave the poller; who still wants something is notified with 0.  Idempotent."""
        if self.fd >= 0 and self._loop._thread:
            self._loop.closing_fd(self.fd)

    def _tell(self, events: int) -> None:
        try:
            if self._notify is not None:
                self._notify(events)
        except BaseException as error:
            self._loop.handle_error(self, type(error), error, error.__traceback__)

    @property
    def callback(self) -> Callable[[int], object] | None:
        """What the owner has told us to call, or None for an fd that only watchers stand on."""
        return self._notify

    # -- what the kernel is asked -----------------------------------------------------------------------------------

    def _interest(self) -> int:
        interest = 0
        for watcher in self._watchers:
            interest |= watcher.events
        if self._notify is None:
            return interest
        if not interest and self._poller.edge:
            return EDGE | BOTH
        return interest | (self._wanted & ~self.ready)

    def _arm(self, afresh: bool = False) -> None:
        """Ask for more.  `afresh` when the number may stand for another file than the one that was armed."""
        interest = self._interest()
        if afresh or interest & ~self._armed or (self._watchers and self._armed & EDGE):
            if self._poller.watch(self.fd, interest):
                self._armed = interest
                if self._always:  # the number stood for another file, which left without `closing_fd`
                    self._always = False
                    self.ready = self._stuck = 0
                    self._loop._always_ready.pop(self.fd, None)
            else:
                self._armed = 0
                self._always = True
                self.ready = self._stuck = BOTH
                self._loop._always_ready[self.fd] = self

    def _arm_again(self) -> None:
        """Have edges that were told and lost told again; where that fails, told by us: an owner tries, and sees."""
        if self._armed & EDGE and self.fd >= 0:
            try:
                self._poller.watch(self.fd, self._armed)
            except OSError:
                self._loop._polled.append((self.fd, BOTH))

    def _arm_in_child(self) -> None:
        """The poller is new and knows nothing; an fd that nobody asks for any more is not told to it."""
        if self._watchers or self._notify is not None:
            self._arm(afresh=True)
        else:
            self._loop._forget_registration(self)

    def _settle(self) -> None:
        """Ask for less, after an event that nobody wants."""
        if self._always:  # nothing is armed
            if not self._watchers and self._notify is None:
                self._loop._forget_registration(self)
            return
        interest = self._interest()
        if interest and interest != self._armed:
            self._poller.watch(self.fd, interest)
        elif not interest:
            self._poller.forget(self.fd)
            if self._notify is None:
                self._loop._forget_registration(self)
        self._armed = interest

    # -- events -----------------------------------------------------------------------------------------------------

    def deliver(self, events: int) -> None:
        """Called by the turn with what the poller reported."""
        if events > BOTH:
            if events & INVALID:
                self._loop.closing_fd(self.fd)
                return
            self._stuck |= READ  # the end of the stream stays readable; a short read before it proves nothing
            events &= BOTH
        if self._notify is not None:
            self.ready |= events
            wanted = self._wanted
            if wanted & events:
                # `unwant` and `_tell` written out: 0.4 us of 1.4 (benchmarks/bench_http.py).
                self._wanted = left = wanted & ~events
                if not left:
                    self._loop._refs -= 1
                try:
                    self._notify(wanted & events)
                except Exception as error:
                    self._loop.handle_error(self, type(error), error, error.__traceback__)
                except BaseException:
                    # An interrupt, at its first instruction perhaps: it is wanted still, and the turn tells it again.
                    if not self._wanted and self.fd >= 0:
                        self._loop._refs += 1
                    if self.fd >= 0:
                        self._wanted |= wanted & events
                    raise
            if self._armed & EDGE or self.fd < 0:
                return
        unwanted = True
        for watcher in self._watchers:
            seen = watcher.events & events
            if seen:
                unwanted = False
                watcher._seen |= seen
                watcher._fire()
        if unwanted or self._notify is not None:
            self._settle()

    def evict(self) -> bool:
        """The fd is about to be closed, or is closed: tell everybody, keep nothing.

        Interrupted, it leaves the fd in the loop's table, and the next call goes on with what is left.
        """
        self._poller.forget(self.fd)
        # An owner's `notify` may close another fd whose event was polled in the same turn, and reuse its number.
        polled = self._loop._polled
        for index, (fd, _) in enumerate(polled):
            if fd == self.fd:
                polled[index] = (fd, 0)
        told = bool(self._watchers) or bool(self._wanted)
        while self._watchers:
            self._watchers[0]._fd_left()
            del self._watchers[0]
        self._loop._forget_registration(self)
        self.fd = -1
        self.ready = 0
        if self._wanted:
            self.unwant(BOTH)
            self._tell(0)
        if told and self._loop.sleeping:  # we are a signal handler inside the poll, or inside a host's
            self._loop.wakeup()
        return told

    def __repr__(self) -> str:
        where = f"fd={self.fd}" if self.fd >= 0 else "closed"
        return f"<registration {where} ready={mask_text(self.ready)} wanted={mask_text(self._wanted)}>"


class InternalFd(Registration):
    """An fd that the loop's own machinery made: calls `noticed` in each turn in which it is readable.

    Nobody sees it: it is no watcher, keeps no `run` from returning, and is called where fds are dispatched, before the
    batch.  `evict` takes it out; whoever made the fd closes it after that.
    """

    __slots__ = ("_noticed",)

    def __init__(self, loop: Loop, fd: int, noticed: Callable[[], object]) -> None:
        super().__init__(loop, loop._poller, fd)
        self._noticed = noticed
        stale = loop._registrations.get(fd)
        if stale is not None:  # a stranger's fd that was closed without `closing_fd`, and whose number we were given
            stale.evict()
        self._arm(afresh=True)
        loop._registrations[fd] = self

    def _interest(self) -> int:
        return READ

    def _arm_in_child(self) -> None:
        self._arm(afresh=True)

    def deliver(self, events: int) -> None:
        if self._loop._thread < 0:  # a forked child, in the turn of the fork: what is there is the parent's to read
            return
        if events & INVALID:  # somebody has closed it: `noticed` fails with EBADF, and shall do so once
            self.evict()
        self._noticed()


class Io(Watcher):
    """Watches one fd: see `hub_api.IIoWatcher`."""

    __slots__ = ("_pass_events", "_registered", "_seen", "events", "fd")

    def __init__(self, loop: Loop, fd: int, events: int, ref: bool = True, priority: int | None = None) -> None:
        check_fd(fd)
        if not isinstance(events, int) or events & ~BOTH or not events:
            raise ValueError(f"events must be READ (1), WRITE (2) or READ|WRITE (3), got {events!r}")
        super().__init__(loop, ref, priority)
        self.fd: int = fd
        self.events: int = events
        self._pass_events = False
        self._seen = 0
        self._registered: Registration | None = None

    if TYPE_CHECKING:

        @overload
        def start(self, callback: Callable[[*Ts], object], /, *args: *Ts) -> None: ...
        @overload
        def start(self, callback: Callable[[*Ts], object], /, *args: *Ts, pass_events: Literal[False]) -> None: ...
        @overload
        def start(self, callback: Callable[[int, *Ts], object], /, *args: *Ts, pass_events: Literal[True]) -> None: ...

    def start(self, callback: Callable[..., object], /, *args: object, pass_events: bool = False) -> None:
        """Call `callback([events,] *args)` whenever the fd is ready: see `hub_api.IIoWatcher.start`."""
        self._start(callback, args)
        self._pass_events = pass_events

    def _arm(self) -> None:
        loop = self.loop
        registration = loop._registrations.get(self.fd)
        if registration is None:
            registration = loop._registrations[self.fd] = Registration(loop, loop._poller, self.fd)
        registration._watchers.append(self)
        try:
            # A watcher that starts for the first time may have been made for a new file under an old number.
            registration._arm(afresh=self._registered is not registration)
        except BaseException:
            registration._watchers.remove(self)
            if not registration._armed and not registration._watchers and registration._notify is None:
                loop._forget_registration(registration)
            raise
        self._registered = registration

    def _disarm(self) -> None:
        registration = self._registered
        if registration is not None and self in registration._watchers:
            registration._watchers.remove(self)
        self._seen = 0

    def _fd_left(self) -> None:
        """The fd is about to be closed: this is the last event."""
        self.fd = -1
        self._closed = True
        self._seen = self.events
        self._fire()

    def _run(self) -> None:
        if not self._pending:
            return
        seen, callback, args, context = self._seen, self._callback, self._args or (), self._its_context()
        if self._closed:
            self.stop()  # still pending: an interrupt in the middle has the batch begin again
        self._pending = False
        self._seen = 0
        if callback is not None:
            given = (seen, *args) if self._pass_events else args
            try:
                if context is None:
                    callback(*given)
                else:
                    context.run(callback, *given)
            except BaseException as error:
                if struck_at_entry(callback, error):
                    self._pending, self._callback, self._args, self._context = True, callback, args, context
                    self._seen |= seen
                raise

    def _failed(self) -> None:
        # The callback has most likely not read what is there: it would be called, and fail, in every turn.
        self.stop()

    def _details(self) -> str:
        return f" fd={self.fd} events={mask_text(self.events)}"


def check_fd(fd: int) -> None:
    """Raise unless `fd` is the number of an open file: TypeError, ValueError, or OSError (EBADF)."""
    if not isinstance(fd, int):
        raise TypeError(f"fd must be a file descriptor number, got {fd!r}; pass its fileno()")
    if fd < 0:
        raise ValueError(f"fd must be 0 or more, got {fd}: was the file closed?")
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: fd {fd} is not open") from None


def mask_text(events: int) -> str:
    """READ|WRITE in words."""
    return "|".join(word for bit, word in ((READ, "READ"), (WRITE, "WRITE")) if events & bit) or "none"
