"""The members of the workspace, read from their own metadata; and how scripts run what builds and tests them.

Gives: one `Member` per directory below packages/, and `run`, for the scripts beside this one.  Rule: nothing about a
package is written here; what a script must know of it stands in the package's pyproject.toml and __about__.py.
"""

import os
import re
import runpy
import subprocess
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
UV = os.environ.get("UV") or os.environ.get("HATCH_UV") or "uv"


@dataclass(frozen=True)
class Member:
    """One package of the workspace."""

    name: str
    version: str
    requirements: tuple[Requirement, ...]
    extras: tuple[Requirement, ...]
    test_requirements: tuple[Requirement, ...]

    @property
    def import_name(self) -> str:
        """The name it is imported by: flat, the distribution's with underscores."""
        return self.name.replace("-", "_")

    def wheel(self, dist: Path) -> Path:
        """The file that a build of this tree must leave in `dist`, pure and for every Python 3."""
        return dist / f"{self.import_name}-{self.version}-py3-none-any.whl"


def members() -> dict[str, Member]:
    """Every member by its distribution name, in alphabetical order."""
    found: dict[str, Member] = {}
    for pyproject in sorted((ROOT / "packages").glob("*/pyproject.toml")):
        metadata = tomllib.loads(pyproject.read_text("utf-8"))
        project = metadata["project"]
        name: str = project["name"]
        about = pyproject.parent / "src" / name.replace("-", "_") / "__about__.py"
        version: str = runpy.run_path(str(about))["__version__"]
        optional = project.get("optional-dependencies", {}).values()
        found[name] = Member(
            name=name,
            version=version,
            requirements=parse_requirements(project.get("dependencies", [])),
            extras=parse_requirements(line for lines in optional for line in lines),
            test_requirements=parse_requirements(metadata.get("dependency-groups", {}).get("test", [])),
        )
    return found


def parse_requirements(lines: Iterable[str]) -> tuple[Requirement, ...]:
    """Requirements with their names normalised, so that they compare with a member's name."""
    parsed = [Requirement(line) for line in lines]
    for requirement in parsed:
        requirement.name = re.sub(r"[-_.]+", "-", requirement.name).lower()
    return tuple(parsed)


def needed_siblings(member: Member, among: dict[str, Member]) -> set[str]:
    """The members that `member` declares, and those that they declare in turn."""
    return _with_their_needs(member.requirements, among)


def test_siblings(member: Member, among: dict[str, Member]) -> set[str]:
    """The members that its dependency group `test` adds to those that `member` needs, with those that they declare."""
    return _with_their_needs(member.test_requirements, among) - needed_siblings(member, among) - {member.name}


def _with_their_needs(requirements: Iterable[Requirement], among: dict[str, Member]) -> set[str]:
    needed: set[str] = set()
    pending = list(requirements)
    while pending:
        name = pending.pop().name
        if name in among and name not in needed:
            needed.add(name)
            pending.extend(among[name].requirements)
    return needed


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run to the end, outside of the environment that we are in; raises CalledProcessError if it fails."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    subprocess.run(command, check=True, cwd=cwd, env=inherited)
