"""Check that the wheels in a directory are what the tree promises: `python tools/check_wheels.py DIST`.

For each member there must be exactly one wheel: pure Python for any platform, named with the version that its
__about__.py states, with py.typed, __init__.py and the licence inside and no compiled file, and asking for siblings in
ranges (never pins) that the versions in this tree satisfy.  Prints each fault and exits with 1, or the wheels and 0.
Needs `packaging`, which hatch brings along.
"""

import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

from workspace import ROOT, Member, members, parse_requirements

COMPILED = (".so", ".pyd", ".dylib", ".c")


def faults_in_wheel(wheel: Path, member: Member, siblings: dict[str, Member]) -> list[str]:
    """What is wrong inside one wheel, each as a sentence."""
    info = f"{member.import_name}-{member.version}.dist-info"
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        wanted = [f"{member.import_name}/{name}" for name in ("__init__.py", "__about__.py", "py.typed")]
        wanted += [f"{info}/METADATA", f"{info}/licenses/LICENSE"]
        faults = [f"{name} is missing" for name in wanted if name not in names]
        faults += [f"{name} is compiled" for name in sorted(names) if name.endswith(COMPILED)]
        tops = {name.split("/", 1)[0] for name in names} - {member.import_name, info}
        faults += [f"{name} would land beside the package" for name in sorted(tops)]
        if faults:
            return faults
        if archive.read(f"{info}/licenses/LICENSE") != (ROOT / "LICENSE").read_bytes():
            faults.append("its LICENSE is not the one at the root")
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode("utf-8"))
    if metadata["Version"] != member.version:
        faults.append(f"METADATA says version {metadata['Version']}, __about__.py says {member.version}")
    for requirement in parse_requirements(metadata.get_all("Requires-Dist", [])):
        sibling = siblings.get(requirement.name)
        if sibling is None:
            continue
        if not requirement.specifier.contains(sibling.version, prereleases=True):
            faults.append(f"it asks for {requirement}, and the tree has {sibling.version}")
        if any(part.operator in ("==", "===") for part in requirement.specifier) or not requirement.specifier:
            faults.append(f"it asks for {requirement}: state a range")
    return faults


def main(dist: Path) -> int:
    """Report on every wheel; the exit status."""
    among = members()
    expected = {member.wheel(dist): member for member in among.values()}
    faults = [
        f"{wheel.name}: no such member, version or tag here" for wheel in dist.glob("*.whl") if wheel not in expected
    ]
    for wheel, member in expected.items():
        if wheel.exists():
            faults += [f"{wheel.name}: {fault}" for fault in faults_in_wheel(wheel, member, among)]
        else:
            faults.append(f"{wheel.name}: not built")
    for fault in faults:
        print(fault)
    if not faults:
        for wheel in expected:
            print(f"{wheel.name}: ok, {wheel.stat().st_size:,} bytes")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
