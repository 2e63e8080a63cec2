"""Test each package with nothing but what it declares: `python tools/isolation.py DIST [NAME ...]`.

For each member: a fresh environment, its wheel from DIST and the wheels of the siblings it declares, its other declared
dependencies from the index, the plugins of the root's `test` group, and its own directory below tests/.  Before the
tests run, each undeclared sibling must fail to import and the package must come from the wheel, not from this tree.
Only then are the siblings added that the package's own dependency group `test` names: hub-core, say, needs some loop to
be tested on, and must import without it.  A member without tests fails.  Siblings are installed by path, never by name,
so that no index can put in a namesake.
Needs uv (as $UV, else on PATH) and `packaging`, which hatch brings along.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workspace import ROOT, Member, members, needed_siblings, test_siblings

UV = os.environ.get("UV", "uv")
PROBE = """
import importlib, importlib.util, sys
present, *absent = sys.argv[1:]
origin = importlib.import_module(present).__file__
assert origin and origin.startswith(sys.prefix), f"{present} comes from {origin}, not from its wheel"
for name in absent:
    assert importlib.util.find_spec(name) is None, f"{name} can be imported although {present} does not declare it"
"""


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run to the end; raises CalledProcessError if it fails."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    subprocess.run(command, check=True, cwd=cwd, env=inherited)


def check(member: Member, among: dict[str, Member], dist: Path, scratch: Path) -> None:
    """Install one member alone and run its tests; raises CalledProcessError at the first step that fails."""
    tests = ROOT / "tests" / member.import_name
    declared = needed_siblings(member, among)
    undeclared = [other.import_name for other in among.values() if other.name not in declared | {member.name}]
    for_tests = test_siblings(member, among)
    still_undeclared = [name for name in undeclared if name not in {among[other].import_name for other in for_tests}]
    environment = scratch / member.name
    python = environment / "bin" / "python"
    wheels = [among[name].wheel(dist) for name in sorted(declared | {member.name})]
    group = f"{ROOT / 'pyproject.toml'}:test"
    run(UV, "venv", "-q", "--python", sys.executable, environment)
    run(UV, "pip", "install", "-q", "--no-sources", "--python", python, "--group", group, *wheels)
    run(python, "-c", PROBE, member.import_name, *undeclared, cwd=scratch)
    if for_tests:
        more = [among[name].wheel(dist) for name in sorted(for_tests)]
        run(UV, "pip", "install", "-q", "--no-sources", "--python", python, *more)
        run(python, "-c", PROBE, member.import_name, *still_undeclared, cwd=scratch)
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests)


def main(dist: Path, names: list[str]) -> int:
    """Check the named members, or all; the exit status."""
    among = members()
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="isolation-") as scratch:
        for name in names or list(among):
            started = time.monotonic()
            declared = sorted(needed_siblings(among[name], among))
            print(f"-- {name} with {', '.join(declared) or 'no sibling'}", flush=True)
            try:
                check(among[name], among, dist, Path(scratch))
            except subprocess.CalledProcessError as error:
                failed.append(name)
                print(f"-- {name}: FAILED, status {error.returncode}", flush=True)
            else:
                print(f"-- {name}: ok, {time.monotonic() - started:.1f} s", flush=True)
    if failed:
        print(f"failed alone: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
