"""Test each package with nothing but what it declares: `python tools/isolation.py [--lowest] DIST [NAME ...]`.

For each member: a fresh environment, its wheel from DIST and the wheels of the siblings it declares, its other declared
dependencies from the index, the plugins of the root's `test` group, and its own directory below tests/.  Before the
tests run, each undeclared sibling must fail to import and the package must come from the wheel, not from this tree.
Only then are the siblings added that the package's own dependency group `test` names: hub-core, say, needs some loop to
be tested on, and must import without it.  A member without tests fails.  Siblings are installed by path, never by name,
so that no index can put in a namesake.
The root's `test` group has what the members' extras ask for.  So a member with extras whose tests say what happens
without them, in `test_without_extras.py`, has all of them run once more after its extras were uninstalled.
Without `--lowest` strangers' packages are the newest that are allowed, as a user gets them; with it, the oldest: each
floor that a member, its siblings or its extras declare is what is tested.  Members that declare none are left out then.
Needs uv (as $UV or $HATCH_UV, else on PATH) and `packaging`, which hatch brings along.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workspace import ROOT, UV, Member, members, needed_siblings, run, test_siblings

TESTS = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "logical")  # as `hatch test` does
PROBE = """
import importlib, importlib.util, sys
present, *absent = sys.argv[1:]
origin = importlib.import_module(present).__file__
assert origin and origin.startswith(sys.prefix), f"{present} comes from {origin}, not from its wheel"
for name in absent:
    assert importlib.util.find_spec(name) is None, f"{name} can be imported although {present} does not declare it"
"""


def strangers(member: Member, among: dict[str, Member]) -> list[str]:
    """What a member asks for from outside the family: itself, by its siblings, or in its extras."""
    needed = [member, *(among[name] for name in sorted(needed_siblings(member, among)))]
    asked = [requirement for one in needed for requirement in (*one.requirements, *one.extras)]
    return sorted({str(requirement) for requirement in asked if requirement.name not in among})


def check(member: Member, among: dict[str, Member], dist: Path, scratch: Path, *, lowest: bool) -> None:
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
    if lowest:
        # What a wheel asks for is not direct, so it is named once more; and the tests' own tools may be the newest.
        floors = ("--resolution", "lowest-direct", *strangers(member, among))
        run(UV, "pip", "install", "-q", "--no-sources", "--python", python, *floors, *wheels)
    run(UV, "pip", "install", "-q", "--no-sources", "--python", python, "--group", group, *wheels)
    run(python, "-c", PROBE, member.import_name, *undeclared, cwd=scratch)
    if for_tests:
        more = [among[name].wheel(dist) for name in sorted(for_tests)]
        run(UV, "pip", "install", "-q", "--no-sources", "--python", python, *more)
        run(python, "-c", PROBE, member.import_name, *still_undeclared, cwd=scratch)
    run(python, *TESTS, tests)
    without_extras = tests / "test_without_extras.py"
    if member.extras and without_extras.exists():
        run(UV, "pip", "uninstall", "-q", "--python", python, *(extra.name for extra in member.extras))
        run(python, *TESTS, tests)


def main(arguments: list[str] | None = None) -> int:
    """Check the named members, or all; the exit status."""
    parser = argparse.ArgumentParser(description="Test each package with nothing but what it declares.")
    parser.add_argument("dist", type=Path, help="the directory with the wheels of all members")
    parser.add_argument("names", metavar="NAME", nargs="*", help="members; without, all")
    parser.add_argument("--lowest", action="store_true", help="with the oldest versions that they allow")
    options = parser.parse_args(arguments)
    among = members()
    names = list[str](options.names or among)
    if unknown := sorted({*names}.difference(among)):
        parser.error(f"there is no member {unknown[0]!r}; there are {', '.join(among)}")
    for name in [name for name in names if options.lowest and not strangers(among[name], among)]:
        print(f"-- {name}: asks for nothing that could be old")
        names.remove(name)
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="isolation-") as scratch:
        for name in names:
            started = time.monotonic()
            declared = sorted(needed_siblings(among[name], among))
            floors = f"; {', '.join(strangers(among[name], among))} at their lowest" if options.lowest else ""
            print(f"-- {name} with {', '.join(declared) or 'no sibling'}{floors}", flush=True)
            try:
                check(among[name], among, options.dist.resolve(), Path(scratch), lowest=options.lowest)
            except subprocess.CalledProcessError as error:
                failed.append(name)
                print(f"-- {name}: FAILED, status {error.returncode}", flush=True)
            else:
                print(f"-- {name}: ok, {time.monotonic() - started:.1f} s", flush=True)
    if failed:
        print(f"failed alone: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
