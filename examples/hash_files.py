"""Hashes files in the thread pool and tells how far it is, while a greenlet keeps its beat of 10 ms.

    python examples/hash_files.py [DIRECTORY]

Reading a file blocks, and there is no fd to wait for: a regular file is always ready.  So directories are listed in a
worker, and each file is read and hashed in one.  `imap_unordered` has a few of them ahead, and gives each digest as
soon as there is one.  Meanwhile the hub is free: the beat shows it, and its longest interval is printed.  (hashlib lets
the GIL go while it hashes.)
"""

import hashlib
import sys
import time
from pathlib import Path

from greenlet_hub import ThreadPool, get_hub, kill, sleep, spawn_raw

BEAT = 0.010


def digest(path: Path) -> tuple[Path, int, str]:
    """Call from: a worker."""
    hashed, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
            size += len(block)
    return path, size, hashed.hexdigest()


def files(directory: Path) -> list[Path]:
    """The files below a directory.  Call from: a worker."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def beat(intervals: list[float]) -> None:
    before = time.perf_counter()
    while True:
        sleep(BEAT)
        now = time.perf_counter()
        intervals.append(now - before)
        before = now


if __name__ == "__main__":
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    intervals: list[float] = []
    heart = spawn_raw(beat, intervals)
    count = total = 0
    with ThreadPool(4, hub=get_hub(), name="hash") as pool:
        paths = pool.apply(files, (directory,))
        for path, size, hexdigest in pool.imap_unordered(digest, paths):
            print(f"{hexdigest}  {path}")
            count, total = count + 1, total + size
            if count % 100 == 0:
                print(f"{count} of {len(paths)} files, {total / 1e6:.1f} MB so far", file=sys.stderr)
        sleep(2 * BEAT)
    kill(heart)
    worst = max(intervals)
    print(
        f"{count} files, {total} bytes; {len(intervals)} beats, the longest took {worst * 1e3:.1f} ms", file=sys.stderr
    )
