"""Release one package of the workspace: `hatch run tools:release NAME VERSION` (a trial: `--dry-run`).

Receives: the name of a member and the version to be; its changelog, whose first section is "VERSION (unreleased)".
Gives: a commit that states the version and dates the section, the annotated tag NAME-VERSION, and in dist/ the wheel
and the source distribution, built from that commit and tested alone.  What goes out of this machine, the push and the
upload, stays with you: the commands are printed.

Rule 1: all or nothing.  Everything happens in a worktree of its own; the branch, the tag and dist/ come last.  So a
release that fails, or is interrupted, leaves the tree as it was.
Rule 2: nothing is released that pip could not install.  Siblings are released first: each that is asked for must have a
tag whose version the range admits.
Rule 3: versions only grow, and are counted as the changelogs say: before 1.0 a new minor version may break callers.
Needs git, uv (as $UV or $HATCH_UV, else on PATH) and `packaging`.
"""

import argparse
import datetime
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from workspace import ROOT, UV, Member, members, run

SECTION = re.compile(r"^## +(?P<version>\S+)(?: +\((?P<date>[^)]*)\))? *$", re.MULTILINE)


class RefusalError(Exception):
    """Why there can be no release now, as a sentence that says what to do."""


def read_version(text: str) -> Version:
    """The version that was asked for: three numbers, for that is what the changelogs count in."""
    try:
        version = Version(text)
    except InvalidVersion:
        version = Version("0")
    if re.fullmatch(r"\d+\.\d+\.\d+", text) is None:
        raise RefusalError(f"a version is MAJOR.MINOR.PATCH, as in 0.2.0, got {text!r}")
    return version


def released(name: str, tags: list[str]) -> list[Version]:
    """The versions of a member that have a tag, the newest last."""
    prefix = f"{name}-"
    numbers = [tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)]
    return sorted(Version(number) for number in numbers if re.fullmatch(r"\d+\.\d+\.\d+", number))


def check_growth(name: str, version: Version, tags: list[str]) -> None:
    """Rule 3.  Raises RefusalError."""
    before = released(name, tags)
    if before and version <= before[-1]:
        raise RefusalError(f"{name} {before[-1]} is released; the next version must be higher, got {version}")


def check_siblings(requirements: tuple[Requirement, ...], siblings: set[str], tags: list[str]) -> None:
    """Rule 2.  Raises RefusalError."""
    for requirement in requirements:
        if requirement.name not in siblings:
            continue
        versions = released(requirement.name, tags)
        if not any(requirement.specifier.contains(version) for version in versions):
            has = ", ".join(map(str, versions)) or "no version at all"
            raise RefusalError(f"it asks for {requirement}, and released is {has}: release {requirement.name} first")


def date_changelog(text: str, version: Version, today: datetime.date) -> str:
    """The changelog with its first section dated.  Raises RefusalError if that is another version's, or empty."""
    first = SECTION.search(text)
    if first is None or first["version"] != str(version) or first["date"] != "unreleased":
        found = f"{first[0]!r}" if first else "none"
        raise RefusalError(f'the first section of CHANGELOG.md must be "## {version} (unreleased)", found {found}')
    following = SECTION.search(text, first.end())
    body = text[first.end() : following.start() if following else len(text)]
    if not re.search(r"^- \S", body, re.MULTILINE):
        raise RefusalError(f"CHANGELOG.md says nothing about {version}: write what changes for users")
    return f"{text[: first.start()]}## {version} ({today.isoformat()}){text[first.end() :]}"


def state_version(text: str, version: Version) -> str:
    """The text of an __about__.py with another version."""
    changed, count = re.subn(r'^__version__ = "[^"]*"$', f'__version__ = "{version}"', text, flags=re.MULTILINE)
    if count != 1:
        raise RefusalError("__about__.py must have one line that says __version__ = ...")
    return changed


# -- the steps ---------------------------------------------------------------------------------------------------------


def git(*arguments: str, at: Path = ROOT) -> str:
    """What a git command prints.  Raises CalledProcessError."""
    ran = subprocess.run(["git", *arguments], cwd=at, check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout.strip()


def prepare(member: Member, version: Version, tree: Path) -> None:
    """State the version and date the changelog in `tree`, and commit that there if it changes anything."""
    package = tree / "packages" / member.name
    about = package / "src" / member.import_name / "__about__.py"
    changelog = package / "CHANGELOG.md"
    about.write_text(state_version(about.read_text("utf-8"), version), "utf-8")
    dated = date_changelog(changelog.read_text("utf-8"), version, datetime.datetime.now(datetime.UTC).date())
    changelog.write_text(dated, "utf-8")
    git("commit", "--quiet", "--all", "--message", f"{member.name} {version}", at=tree)


def build_and_test(member: Member, tree: Path, dist: Path) -> None:
    """Build every wheel and this member's source distribution in `tree`; check them; test the member alone."""
    run(UV, "build", "-q", "--wheel", "--all-packages", "--out-dir", dist, cwd=tree)
    run(UV, "build", "-q", "--sdist", "--package", member.name, "--out-dir", dist, cwd=tree)
    run(sys.executable, "tools/check_wheels.py", dist, cwd=tree)
    run(sys.executable, "tools/isolation.py", dist, member.name, cwd=tree)


def release(member: Member, version: Version, *, dry_run: bool) -> list[Path]:
    """Take all steps; returns the files that were made.  Raises RefusalError, or CalledProcessError of a step."""
    if git("status", "--porcelain"):
        raise RefusalError("the tree has changes that are not committed: commit them, or put them away")
    branch, head = git("branch", "--show-current"), git("rev-parse", "HEAD")
    if branch != "main":
        raise RefusalError(f"releases are made from the branch main, this is {branch or 'no branch'}")
    tags = git("tag", "--list").splitlines()
    check_growth(member.name, version, tags)
    check_siblings(member.requirements, set(members()), tags)
    made: list[Path] = []
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        tree, dist = Path(scratch, "tree"), Path(scratch, "dist")
        git("worktree", "add", "--quiet", "--detach", str(tree), head)
        try:
            prepare(member, version, tree)
            build_and_test(member, tree, dist)
            commit = git("rev-parse", "HEAD", at=tree)
            if not dry_run:
                git("merge", "--quiet", "--ff-only", commit)
                git("tag", "--annotate", f"{member.name}-{version}", "--message", f"{member.name} {version}", commit)
                (ROOT / "dist").mkdir(exist_ok=True)
                files = sorted(dist.glob(f"{member.import_name}-{version}*"))
                made += [Path(shutil.copy2(file, ROOT / "dist")) for file in files]
        finally:
            git("worktree", "remove", "--force", str(tree))
    return made


def main(arguments: list[str] | None = None) -> int:
    """Parse, release, say what is left to do; the exit status."""
    parser = argparse.ArgumentParser(description="Release one package of the workspace.")
    parser.add_argument("name", choices=sorted(members()))
    parser.add_argument("version", help="MAJOR.MINOR.PATCH, as the first section of its changelog says")
    parser.add_argument("--dry-run", action="store_true", help="build and test, but leave branch, tag and dist/ alone")
    options = parser.parse_args(arguments)
    member = members()[options.name]
    try:
        version = read_version(options.version)
        made = release(member, version, dry_run=options.dry_run)
    except RefusalError as refusal:
        print(f"{options.name}: {refusal}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"{options.name}: {' '.join(map(str, error.cmd))} failed, status {error.returncode}", file=sys.stderr)
        return 1
    if options.dry_run:
        print(f"{options.name} {version} could be released")
    else:
        print(f"{options.name} {version} is tagged, and built in dist/.  To publish it:")
        print(f"  git push origin main {options.name}-{version}")
        print(f"  uv publish {' '.join(str(file.relative_to(ROOT)) for file in made)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
