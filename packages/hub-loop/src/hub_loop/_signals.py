"""Signals: the bridge from CPython's signal handlers to the watchers of one signal.

Receives: `start`/`stop` from watchers, and the call of a Python signal handler.  Gives: signal watchers, posted through
the inbox of their loops.

What one must know about signals (man 7 signal; the docs of CPython's `signal`):

- CPython's own handler, in C, runs in whatever thread the kernel picked and only sets a flag.  The Python handler runs
  later, in the main thread, between two of its instructions.  So only the main thread can install one, and we watch
  signals in the main thread only.
- If that finds the main thread in its poll, the system call ends, the handler runs, and the poll goes on (PEP 475): so
  the handler must wake its loops.
- It may find the main thread just before its system call, which then sleeps over the flag.  And the kernel may pick
  another thread: when the main thread has a signal to deal with already, or when it was told to (pthread_kill).  For
  both, CPython's C handler writes a byte to the fd of `set_wakeup_fd`, which ends the poll: our `Door`.  A loop has it
  while it watches signals; a default loop, whose program is to end at Ctrl-C, from its first sleep until its end.
- A process has one handler per signal and one wake-up fd.

Rule 1: nothing is stolen.  The handler that was there is put back by the last stop, unless ours was replaced
meanwhile: then what replaced it stays.  That one may call ours at any time; so a bridge keeps to the one handler that
it has replaced, and another is replaced by a new bridge.  A wake-up fd that somebody else has set stays.
Rule 2: the bridge of a signal that finds nobody to tell steps aside: it puts the previous handler back and raises the
signal again.  So a stop that was interrupted, or a loop whose thread has ended or was left behind by a fork, swallows
no signal.
Rule 3: everything here may be interrupted at any statement by the handler of another signal, and what it raises gets
out; a second `stop`, or the loop's `destroy`, then undoes what was done.
Rule 4: what the system offers is bound at import: a framework that patches modules does not reach in here.
"""

from __future__ import annotations

from os import close, getpid, pipe, read, set_blocking
from signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGKILL, SIGSTOP, getsignal, raise_signal, set_wakeup_fd, valid_signals
from signal import signal as set_handler
from weakref import ref

from hub_loop._faults import passes
from hub_loop._fork import call_in_child
from hub_loop._io import InternalFd
from hub_loop._wakeup import Posted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, TypeGuard

    from hub_loop._loop import Loop

_VALID = valid_signals()  # once: it makes an enum of each, which takes 0.3 ms
_watchers: dict[int, dict[Signal, None]] = {}
"""By signal number: those to tell, in the order of their starts.  All bridges of a signal share them, so they stay."""
_door: Door | None = None
"""The door that loops get now."""
_told_of_forks = False


class Signal(Posted):
    """Calls back after the process received a signal: see `hub_api.ISignalWatcher`."""

    __slots__ = ("signum",)

    def __init__(self, loop: Loop, signum: int, ref: bool = True, priority: int | None = None) -> None:
        if not isinstance(signum, int):
            raise TypeError(f"signum must be the number of a signal, got {signum!r}; pass signal.SIG...")
        if signum not in _VALID:
            raise ValueError(f"signum must be the number of a signal of this system, got {signum!r}")
        if signum in (SIGKILL, SIGSTOP):
            raise ValueError(f"no process can catch signal {signum!r} (SIGKILL, SIGSTOP); watch SIGTERM or SIGTSTP")
        super().__init__(loop, ref, priority)
        self.signum: int = signum

    def _arm(self) -> None:
        try:
            watchers = _watchers.setdefault(self.signum, {})
            watchers[self] = None  # before the handler is ours: it may be called at once
            _install(self)
            self.loop._signals[self] = None
            _enter(self.loop)
        except BaseException:
            self._disarm()
            raise

    def _disarm(self) -> None:
        super()._disarm()
        watchers = _watchers.get(self.signum)
        if watchers is not None:
            watchers.pop(self, None)  # first: from here on a signal is the previous handler's (rule 2)
            if not watchers:
                _uninstall(self.signum)
        loop = self.loop
        loop._signals.pop(self, None)
        door = loop._door or _door  # the latter if an interrupt came before `add` was done
        if door is not None and not loop._signals and not (loop._thread and loop.default and loop._attends):
            door.remove(loop)

    def _caught(self) -> None:
        """The Python handler was called.  In the main thread, which is the loop's, inside anything that runs there."""
        inbox = self.loop._wakeup.inbox
        if self._sent is not inbox:
            # In this order: `_Bridge.__call__` begins again if an interrupt comes between the two.
            inbox.append(self)
            self._sent = inbox
        if self.loop.sleeping:
            self.loop.wakeup()

    def _forked(self) -> None:
        """In a forked child, after the loop got a new poller: go on watching, but hear the child's signals only.

        Handlers are inherited, but the pipe was the parent's: see `_after_in_child`.
        """
        if self in self.loop._signals:
            _enter(self.loop)

    def _details(self) -> str:
        return f" signum={self.signum!r}"


class Interrupt(Signal):
    """Calls back in the Python signal handler itself, whatever the main thread is doing: see `Loop.interrupt`."""

    __slots__ = ()

    def _caught(self) -> None:
        callback, args = self._callback, self._args
        if callback is None:  # it is just being started or stopped
            return
        try:
            callback(*(args or ()))
        except Exception as error:  # what was interrupted has no part in it
            self.loop.handle_error(self, type(error), error, error.__traceback__)


def number_of(name: str) -> int:
    """The number of a signal by its name.  Raises ValueError."""
    for signum in _VALID:
        if getattr(signum, "name", None) == name:
            return int(signum)
    raise ValueError(f"signum must name a signal of this system, as in 'SIGUSR2', got {name!r}")


class _Bridge:
    """The Python handler of one signal, in the place of another: tells the watchers of all loops."""

    __slots__ = ("previous", "signum", "watchers")

    def __init__(self, signum: int, previous: Any) -> None:
        self.signum = signum
        self.previous = previous
        self.watchers = _watchers[signum]

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        installed = False
        for watcher in tuple(self.watchers):
            if watcher.loop._thread == 0:  # a fork by another thread has left that of the loop behind
                installed = installed or self._is_installed()  # before the last stop puts the previous handler back
                watcher.stop()
        if self.watchers:
            try:
                self._tell()
            except BaseException:  # what the handler of another signal has raised in the middle of it
                self._tell()
                raise
        elif installed or self._is_installed():
            _uninstall(self.signum)
            raise_signal(signum)
        elif callable(self.previous):  # called by the handler that replaced us, as if we were still there
            self.previous(signum, frame)

    def _tell(self) -> None:
        for watcher in tuple(self.watchers):
            watcher._caught()

    def _is_installed(self) -> bool:
        handler: object = getsignal(self.signum)
        return handler is self


def _is_bridge(handler: object, signum: int) -> TypeGuard[_Bridge]:
    """Whether a handler is a bridge of this signal, and not one of another's that somebody has set here."""
    return isinstance(handler, _Bridge) and handler.signum == signum


def _install(watcher: Signal) -> None:
    """Have a bridge for the handler.  For every start, even if one is there: `signal.signal` refuses other threads."""
    signum = watcher.signum
    handler = getsignal(signum)
    if handler is None:
        raise ValueError(
            f"cannot start {watcher!r}: the handler of signal {signum} was not set by Python code, and "
            "so could not be put back; set it to signal.SIG_DFL first, if it is not needed"
        )
    try:
        set_handler(signum, handler if _is_bridge(handler, signum) else _Bridge(signum, handler))
    except ValueError:
        raise ValueError(
            f"cannot start {watcher!r}: CPython calls signal handlers in the main thread only, and lets no other "
            "thread set one; watch the signal in the main thread's loop, and post from there by "
            "run_callback_threadsafe"
        ) from None


def _uninstall(signum: int) -> None:
    """Put back what was there before, unless ours was replaced.  Idempotent."""
    handler = getsignal(signum)
    if _is_bridge(handler, signum):
        try:
            set_handler(signum, handler.previous)
        except ValueError:
            pass  # a loop destroyed from another thread; the next signal finds nobody, in the right thread (rule 2)


class Door:
    """A pipe that CPython's C handler writes to, whatever thread the signal came in; the loops that watch read it."""

    __slots__ = ("_reader", "_told", "_writer", "pid", "readers")

    def __init__(self) -> None:
        self.pid = getpid()
        self.readers: set[ref[Loop]] = set()
        """Weakly, for a default loop may be dropped while it has the door; the pipe goes with the last one."""
        self._told = False  # whether the C handler may know of it
        self._reader, self._writer = pipe()
        set_blocking(self._reader, False)
        set_blocking(self._writer, False)

    def open(self) -> bool:
        """Become the process's wake-up fd; False if somebody else has set one, which then stays.

        Raises ValueError in any thread but the main one of the main interpreter.
        """
        before, self._told = self._told, True  # first: an interrupt may come right behind the call
        try:
            theirs = _set_wakeup(self._writer)
        except ValueError:
            self._told = before
            raise
        return theirs in (-1, self._writer) or not _put_back(theirs)

    def hold(self, loop: Loop) -> bool:
        """Keep the pipe open for a loop; False if it has been closed, and so is of no use."""
        self.readers.add(ref(loop, self._leave))
        return self._reader >= 0

    def add(self, loop: Loop) -> None:
        """Have a loop that holds the door woken by signals."""
        InternalFd(loop, self._reader, self._drain)
        loop._door = self

    def remove(self, loop: Loop) -> None:
        """Undo `hold` and `add`."""
        reader = loop._registrations.get(self._reader)
        if isinstance(reader, InternalFd):
            reader.evict()
        self._leave(ref(loop))
        loop._door = None

    def _leave(self, loop: ref[Loop]) -> None:
        self.readers.discard(loop)
        if not self.readers:
            self.close()

    def _drain(self) -> None:
        try:
            while len(read(self._reader, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass  # a nested loop has read it

    def silence(self) -> None:
        """Be the process's wake-up fd no more.  Raises ValueError in any thread but the main one."""
        current = _set_wakeup(-1)
        if current not in (-1, self._writer):
            _put_back(current)

    def close(self) -> None:
        """Give the pipe back; but not in another thread than the main one, where the C handler cannot be told."""
        global _door
        if self._told:
            try:
                self.silence()
            except ValueError:
                return  # a loop destroyed from another thread; the next start finds the door open
        self._close_pipe()
        if _door is self:
            _door = None  # last: inside the hook, an interrupt leaves the rest to its next call

    def _close_pipe(self) -> None:
        reader, self._reader = self._reader, -1
        if reader >= 0:
            close(reader)
        writer, self._writer = self._writer, -1
        if writer >= 0:
            close(writer)

    def __del__(self) -> None:
        # Only after an interrupt in the middle of `_enter`: it is not the wake-up fd yet.
        if hasattr(self, "_writer"):
            self._close_pipe()


def attend(loop: Loop) -> None:
    """Have each signal end the sleeps of a loop of the main thread, so that none is slept over.

    Called before its first one.  Where the system has no fd left for it, it sleeps without, and the next tries again.
    It also sleeps without where it can never be told: in a subinterpreter, in a thread that `threading` takes for the
    main one because it was the first to import that, and with a `select` that cannot take the number of the pipe.
    """
    try:
        _enter(loop)
    except ValueError:
        pass
    except Exception as error:
        if not passes(error):
            raise
        return
    loop._attends = loop._pid


def _enter(loop: Loop) -> None:
    """Have `loop` woken by signals that come in other threads, if the process's wake-up fd is free or ours."""
    old = loop._door
    if old is not None:
        if old.pid == getpid():
            try:
                old.open()  # somebody may have taken the wake-up fd and given it back since
            except (OSError, ValueError):
                pass  # closed behind our back: signals to the main thread are noticed all the same
            return
        old.remove(loop)
    while loop._door is None:
        door = _this_process_door()
        try:
            if not door.hold(loop):
                continue  # the collector has just dropped the last loop that held it
            if not door.open():
                door.remove(loop)
                break
            door.add(loop)
        except BaseException:
            door.remove(loop)
            raise


def _this_process_door() -> Door:
    global _door, _told_of_forks
    door = _door
    if door is not None and door.pid == getpid() and door._reader >= 0:
        return door
    if door is not None:  # half closed, or the parent's, of a fork that Python was not told of
        door.silence()
    door = _door = Door()
    if not _told_of_forks:
        call_in_child(_after_in_child)
        _told_of_forks = True
    return door


def _after_in_child() -> None:
    """Part with the parent's pipe: our loops would take its signals out of it, and the C handler would put ours in.

    At once, and not when a loop is next used: the child may close all that it has inherited, as daemons do, and by then
    the numbers would be those of files of its own.
    """
    global _door
    door = _door
    if door is None:
        return
    try:
        door.silence()
    except ValueError:
        _door = None
        return  # a subinterpreter's fork: CPython has its wake-up fd in the main one only
    for reader in tuple(door.readers):
        loop = reader()
        if loop is not None:
            door.remove(loop)
    door._close_pipe()
    _door = None  # last: until then the hook can be repeated


def shared_fds() -> set[int]:
    """The fds of the door.  They are no single loop's: whichever sleeps first opens it, and the last one closes it."""
    door = _door
    return set() if door is None else {door._reader, door._writer}


def _set_wakeup(fd: int) -> int:
    # A full pipe is no mistake, ours or theirs: whoever reads it will wake up.
    return set_wakeup_fd(fd, warn_on_full_buffer=False)


def _put_back(theirs: int) -> bool:
    """Set somebody's wake-up fd again; False if it was closed meanwhile, and so is nobody's."""
    try:
        _set_wakeup(theirs)
    except (OSError, ValueError):
        return False
    return True


def end_ignoring_children() -> None:
    """Undo SIG_IGN for SIGCHLD, which has the kernel drop the statuses of children (man 2 sigaction)."""
    if getsignal(SIGCHLD) is SIG_IGN:
        try:
            set_handler(SIGCHLD, SIG_DFL)
        except ValueError:
            pass  # not the main thread; `Loop.install_sigchld` says so
