"""The public names of each package: `python tools/api.py [NAME ...]` writes them to `packages/NAME/api.txt`.

Receives: a package's sources, wherever they are installed.  Gives: a line for each public name: what kind of thing it
is, and how it is called, as its source says it.  `test_names.py` of each package compares the committed file with what
is installed, so whoever changes what others may call sees it in the diff, and says so in the changelog.

Rule 1: sources are read and nothing is imported.  So it needs no extras, it says the same on each Python, and a default
is what is written there and not an object with an address.
Rule 2: public is what `__all__` of a module says, or else what it defines, without an underscore in front; and the
modules themselves go by the same underscore.
Rule 3: what a class has from a base that is not public counts as its own, since nobody can look it up there.
Rule 4: no values: an attribute is here by its type, so that a release, which is a new `__version__`, changes nothing.
Rule 5: of a kit of tests, the tests are not listed, nor the hooks of a plugin: nobody but pytest calls them.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
Statements = dict[str, list[ast.stmt]]


class Package:
    """One package's sources, parsed when they are asked for."""

    def __init__(self, name: str, source: Path) -> None:
        self.name = name
        self._source = source
        self._modules: dict[str, Statements] = {}
        self.exported = {self.home(module, name) for module in self.public_modules() for name in self.names(module)}

    def _file(self, module: str) -> Path | None:
        below = self._source.joinpath(*module.split(".")[1:])
        return next((file for file in (below / "__init__.py", below.with_suffix(".py")) if file.is_file()), None)

    def public_modules(self) -> list[str]:
        """Their dotted names, the package's own first."""
        found = []
        for file in self._source.rglob("*.py"):
            *above, last = file.relative_to(self._source).with_suffix("").parts
            parts = [*above, last] if last != "__init__" else above
            if not any(part.startswith("_") for part in parts):
                found.append(".".join([self.name, *parts]))
        return sorted(found)

    def bindings(self, module: str) -> Statements:
        """What binds each name of a module, type checkers' branches included."""
        if module not in self._modules:
            file = self._file(module)
            assert file is not None, f"there is no module {module}"
            bound: Statements = {}
            for statement in statements(ast.parse(file.read_text("utf-8")).body):
                for name in bound_by(statement):
                    bound.setdefault(name, []).append(statement)
            self._modules[module] = bound
        return self._modules[module]

    def names(self, module: str) -> list[str]:
        """The public names of a module."""
        bound = self.bindings(module)
        if "__all__" in bound:
            (listed,) = bound["__all__"]
            assert isinstance(listed, ast.Assign)
            return sorted(ast.literal_eval(listed.value))
        own = [name for name, how in bound.items() if not isinstance(how[0], ast.Import | ast.ImportFrom)]
        return sorted(name for name in own if not name.startswith(("_", "pytest_")) and name != "TYPE_CHECKING")

    def home(self, module: str, name: str) -> tuple[str, str]:
        """The module that defines a name, and what it is called there: of other packages, the one it is taken from."""
        found = self.bindings(module).get(name)
        assert found, f"{module}.{name} is promised, and nothing defines it"
        taken = found[0]
        if not isinstance(taken, ast.ImportFrom):
            return module, name
        assert taken.module, f"{module}: imports are absolute here"
        assert not taken.level, f"{module}: imports are absolute here"
        name = next(alias.name for alias in taken.names if (alias.asname or alias.name) == name)
        if taken.module.split(".")[0] != self.name:
            return taken.module, name
        inner = f"{taken.module}.{name}"
        return (inner, "") if self._file(inner) else self.home(taken.module, name)

    def base(self, module: str, written: ast.expr) -> tuple[str, str] | None:
        """Where a base class is defined that `module` writes so, if that is here and no public name."""
        match written:
            case ast.Subscript(value=inner):
                return self.base(module, inner)
            case ast.Name(id=name) if name in self.bindings(module):
                home = self.home(module, name)
            case ast.Attribute(value=ast.Name(id=holder), attr=name) if holder in self.bindings(module):
                beside, _ = self.home(module, holder)
                if beside.split(".")[0] != self.name:
                    return None
                home = self.home(beside, name)
            case _:
                return None
        return home if home[0].split(".")[0] == self.name and home not in self.exported else None


def lines(name: str, source: Path) -> list[str]:
    """All lines of one package's file; `name` is what it is imported by, `source` the directory with its modules."""
    package = Package(name, source)
    return [
        line
        for module in package.public_modules()
        for public in package.names(module)
        for line in told(package, module, public)
    ]


def told(package: Package, module: str, name: str) -> Iterator[str]:
    """The lines of one public name: its own, and those of its members."""
    home, there = package.home(module, name)
    full = f"{module}.{name}"
    if home.split(".")[0] != package.name:
        yield f"{full}: is {home}.{there}"
        return
    if home != module and home in package.public_modules():  # it has its lines there
        yield f"{full}: is {home}.{there}" if there else f"{full}: module"
        return
    found = package.bindings(home)[there]
    if isinstance(found[0], ast.ClassDef):
        bases = ", ".join(ast.unparse(each) for each in (*found[0].bases, *found[0].keywords))
        yield f"{full}: {decorated(found[0])}class" + (f" ({bases})" if bases else "")
        members = members_of(package, home, found[0])
        for member in [*members] if in_order(found[0]) else sorted(members):
            yield from (f"{full}.{member}: {how}" for how in members[member])
    else:
        yield from (f"{full}: {how}" for how in described(found, "function"))


def in_order(found: ast.ClassDef) -> bool:
    """Whether the order of a class's fields is that of the arguments it is made with."""
    return bool(found.decorator_list) or any("NamedTuple" in ast.unparse(base) for base in found.bases)


def members_of(package: Package, module: str, found: ast.ClassDef) -> dict[str, list[str]]:
    """The public members of a class by name, those of its private bases included, each with what it is."""
    bound: Statements = {}
    for statement in statements(found.body):
        for name in bound_by(statement):
            bound.setdefault(name, []).append(statement)
    members = {name: described(how, "method") for name, how in bound.items() if is_public(name, how)}
    for name, annotation in attributes_of_instances(bound):
        members.setdefault(name, [f"attribute: {annotation}" if annotation else "attribute"])
    for written in found.bases:
        if base := package.base(module, written):
            definition = package.bindings(base[0])[base[1]][0]
            if isinstance(definition, ast.ClassDef):
                for name, how in members_of(package, base[0], definition).items():
                    members.setdefault(name, how)
    return members


def is_public(name: str, how: list[ast.stmt]) -> bool:
    """Whether a member's name is one to use: no underscore and no test, or a method that the language calls."""
    special = name.startswith("__") and name.endswith("__") and isinstance(how[0], ast.FunctionDef)
    return special or not name.startswith(("_", "test_"))


def attributes_of_instances(bound: Statements) -> Iterator[tuple[str, str]]:
    """Public attributes that `__init__` and `__new__` assign, or `__slots__` names, with the types that are told."""
    for method in ("__init__", "__new__"):
        for definition in bound.get(method, []):
            if isinstance(definition, ast.FunctionDef):
                yield from assigned(definition)
    for slots in bound.get("__slots__", []):
        if isinstance(slots, ast.Assign):
            value = ast.literal_eval(slots.value)
            yield from ((name, "") for name in ([value] if isinstance(value, str) else value) if name[0] != "_")


def assigned(definition: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """What a constructor assigns to public attributes of its first argument."""
    arguments = [*definition.args.posonlyargs, *definition.args.args, *definition.args.kwonlyargs]
    types = {each.arg: ast.unparse(each.annotation) for each in arguments if each.annotation}
    for node in ast.walk(definition):
        match node:
            case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=name), annotation=annotation):
                found = [(name, ast.unparse(annotation))]
            case ast.Assign(targets=targets, value=value):
                known = types.get(value.id, "") if isinstance(value, ast.Name) else ""
                found = [
                    (target.attr, known)
                    for target in targets
                    if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"
                ]
            case _:
                continue
        yield from ((name, type_) for name, type_ in found if not name.startswith("_"))


def described(how: list[ast.stmt], callable_: str) -> list[str]:
    """What one name is, by all that binds it: one line, or one for each overload."""
    first = how[0]
    match first:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            calls = [each for each in how if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            if "property" in decorators(first):
                settable = any(f"{first.name}.setter" in decorators(each) for each in calls)
                returned = ast.unparse(first.returns) if first.returns else "untyped"
                return [f"property{', settable' if settable else ''}: {returned}"]
            overloads = [each for each in calls if "overload" in decorators(each)]
            return [f"{decorated(each)}{callable_} {signature(each)}" for each in overloads or [first]]
        case ast.ClassDef():
            return ["class"]
        case ast.AnnAssign(annotation=annotation):
            return [f"attribute: {ast.unparse(annotation)}"]
        case ast.Assign(value=ast.Constant(value=value)):
            return [f"attribute: {type(value).__name__}"]
        case ast.Assign(value=ast.Name() | ast.Attribute() as other):
            return [f"is {ast.unparse(other)}"]
        case _:
            return ["attribute"]


def decorators(found: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> list[str]:
    """As they are written."""
    return [ast.unparse(each) for each in found.decorator_list]


def decorated(found: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    """What stands in front of a definition and changes how it is called, or made."""
    before = "".join(f"@{each} " for each in decorators(found) if each != "overload")
    return f"{before}async " if isinstance(found, ast.AsyncFunctionDef) else before


def signature(found: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Its arguments with types and defaults, and what it returns."""
    after = f" -> {ast.unparse(found.returns)}" if found.returns else ""
    return f"({ast.unparse(found.args)}){after}"


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """A body's statements, and those under its conditions."""
    for statement in body:
        if isinstance(statement, ast.If | ast.Try):
            yield from statements([*statement.body, *statement.orelse])
        else:
            yield statement


def bound_by(statement: ast.stmt) -> list[str]:
    """The names that one statement binds."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [alias.asname or alias.name for alias in names]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(targets=targets):
            within = [each for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
            return [each.id for each in within if isinstance(each.ctx, ast.Store)]  # x, and not the y of y.z = ...
        case _:
            return []


def committed(name: str) -> Path:
    """The file of a distribution."""
    return ROOT / "packages" / name / "api.txt"


def main(arguments: list[str] | None = None) -> int:
    """Write the files of the named packages, or of all; the exit status."""
    every = sorted(path.parent.name for path in (ROOT / "packages").glob("*/pyproject.toml"))
    parser = argparse.ArgumentParser(description="Write the public names of each package to its api.txt.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="packages; without, all")
    names: list[str] = parser.parse_args(arguments).names or every
    if unknown := sorted({*names}.difference(every)):
        parser.error(f"there is no package {unknown[0]!r}; there are {', '.join(every)}")
    for name in names:
        imported = name.replace("-", "_")
        found = lines(imported, ROOT / "packages" / name / "src" / imported)
        committed(name).write_text("".join(f"{line}\n" for line in found), "utf-8")
        print(f"{committed(name).relative_to(ROOT)}: {len(found)} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
