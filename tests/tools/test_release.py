"""What `tools/release.py` refuses, what it writes, and that a release that fails leaves the tree as it was."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import release  # noqa: E402  # from the directory that was just added

TODAY = datetime.date(2030, 1, 2)
CHANGELOG = """# Changelog

## 0.2.0 (unreleased)

### Added

- A thing.

## 0.1.0 (2029-01-01)

- The first.
"""


@pytest.mark.parametrize("text", ["1", "1.2", "1.2.3.4", "1.2.3rc1", "v1.2.3", "next", ""])
def test_a_version_is_three_numbers(text: str) -> None:
    with pytest.raises(release.RefusalError, match=r"MAJOR\.MINOR\.PATCH"):
        release.read_version(text)


def test_versions_only_grow() -> None:
    tags = ["hub-api-0.9.0", "hub-api-0.10.0", "hub-api-extra-3.0.0", "hub-loop-7.0.0", "hub-api-odd"]
    release.check_growth("hub-api", Version("0.10.1"), tags)
    release.check_growth("hub-core", Version("0.1.0"), tags)
    for version in ("0.10.0", "0.9.9"):
        with pytest.raises(release.RefusalError, match=r"0\.10\.0 is released"):
            release.check_growth("hub-api", Version(version), tags)


def test_siblings_are_released_first() -> None:
    asked = (Requirement("hub-api>=0.2,<0.3"), Requirement("greenlet>=3.1"))
    siblings = {"hub-api", "hub-core"}
    release.check_siblings(asked, siblings, ["hub-api-0.1.0", "hub-api-0.2.1"])
    with pytest.raises(release.RefusalError, match=r"released is 0\.1\.0: release hub-api first"):
        release.check_siblings(asked, siblings, ["hub-api-0.1.0"])
    with pytest.raises(release.RefusalError, match="no version at all"):
        release.check_siblings(asked, siblings, [])


def test_the_first_section_of_the_changelog_is_dated_and_nothing_else_changes() -> None:
    dated = release.date_changelog(CHANGELOG, Version("0.2.0"), TODAY)
    assert dated == CHANGELOG.replace("## 0.2.0 (unreleased)", "## 0.2.0 (2030-01-02)")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CHANGELOG.replace("0.2.0", "0.3.0"), "must be"),
        (CHANGELOG.replace("(unreleased)", "(2029-12-24)"), "must be"),
        (CHANGELOG.replace("- A thing.\n", ""), "says nothing"),
        ("# Changelog\n", "found none"),
    ],
)
def test_a_changelog_that_is_not_ready_is_refused(text: str, reason: str) -> None:
    with pytest.raises(release.RefusalError, match=reason):
        release.date_changelog(text, Version("0.2.0"), TODAY)


def test_the_version_is_stated_in_its_one_place() -> None:
    text = '"""The version."""\n\n__version__ = "0.1.0"\n'
    assert release.state_version(text, Version("0.2.0")) == text.replace("0.1.0", "0.2.0")
    with pytest.raises(release.RefusalError, match="one line"):
        release.state_version("", Version("0.2.0"))


# -- a whole release, in a repository of its own -----------------------------------------------------------------------


WHO = {f"GIT_{role}_{part}": "tester@example.invalid" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}


def git(tree: Path, *arguments: str) -> str:
    env = {**os.environ, **WHO}
    ran = subprocess.run(["git", *arguments], cwd=tree, check=True, capture_output=True, text=True, env=env)
    return ran.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A workspace of one package without dependencies, on a branch main."""
    tree = tmp_path / "repository"
    for name in ("tools", "packages/hub-api"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", tree)
    git(tree, "init", "--quiet", "--initial-branch", "main")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "as it is")
    return tree


def run(tree: Path, *arguments: str, uv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "tools/release.py", *arguments],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **WHO, "UV": uv, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def state(tree: Path) -> tuple[str, str, str, str]:
    return (
        git(tree, "rev-parse", "HEAD"),
        git(tree, "tag", "--list"),
        git(tree, "status", "--porcelain"),
        git(tree, "worktree", "list"),
    )


def test_a_step_that_fails_leaves_branch_tags_and_tree_as_they_were(repository: Path) -> None:
    before = state(repository)
    ran = run(repository, "hub-api", "0.1.0", uv="false")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("hub-api: false build")
    assert state(repository) == before


def test_a_tree_with_changes_and_another_branch_are_refused(repository: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "other")
    ran = run(repository, "hub-api", "0.1.0", uv="false")
    assert (ran.returncode, ran.stderr) == (
        1,
        "hub-api: releases are made from the branch main, this is other\n",
    )
    (repository / "new").write_text("")
    ran = run(repository, "hub-api", "0.1.0", uv="false")
    assert ran.returncode == 1
    assert "not committed" in ran.stderr


@pytest.mark.parametrize("dry", [True, False])
def test_what_was_built_and_tested_is_committed_and_tagged_and_a_trial_is_not(
    repository: Path, tmp_path: Path, dry: bool
) -> None:
    # What builds and tests is played here: the gate builds the wheels of this tree, and tests each alone.
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\nfor out; do :; done\nmkdir -p "$out"; touch "$out/hub_api-0.1.0.built"\n')
    uv.chmod(0o755)
    for tool in ("check_wheels", "isolation"):
        (repository / "tools" / f"{tool}.py").write_text("import sys\nassert sys.argv[1:]\n")
    git(repository, "commit", "--quiet", "--all", "--message", "tools that agree")
    before = state(repository)
    ran = run(repository, "hub-api", "0.1.0", *(["--dry-run"] if dry else []), uv=str(uv))
    assert (ran.returncode, ran.stderr) == (0, "")
    if dry:
        assert state(repository) == before
        return
    assert git(repository, "describe") == "hub-api-0.1.0"
    assert git(repository, "log", "-1", "--format=%s") == "hub-api 0.1.0"
    assert git(repository, "rev-parse", "HEAD^") == before[0]
    today = datetime.datetime.now(datetime.UTC).date()
    assert f"## 0.1.0 ({today})" in (repository / "packages/hub-api/CHANGELOG.md").read_text()
    assert [file.name for file in (repository / "dist").iterdir()] == ["hub_api-0.1.0.built"]
    assert "git push origin main hub-api-0.1.0" in ran.stdout
    again = run(repository, "hub-api", "0.1.0", uv=str(uv))
    assert (again.returncode, again.stderr.split(";")[0]) == (1, "hub-api: hub-api 0.1.0 is released")
