"""Change the scheduler and the Waiter in one small way after another, and see whether the tests notice.

`hatch run mutate:run [--every N] [MODULE ...]`; half an hour on a quiet machine, a sample of it with `--every`, and not
part of the gate.  cosmic-ray makes the mutants: another comparison, a number off by one, an `or` for an `and`, a loop
that is not entered.  pytest collects the tests of hub_core once; each mutant then has a forked child, in which the
functions get the mutant's code and the tests run until the first that fails.  Nothing on the disk is changed.  Printed:
each mutant that no test has noticed, as a diff, and how many some test did.

Rule 1: a mutant is killed by a test that fails, hangs for HANGS seconds, or takes the interpreter down.
Rule 2: what is the same program is no mutant: annotations, docstrings and what only type checkers read do not count.
Rule 3: tests that have killed come first, for the like of them kill most; the order does not change the verdict.
Rule 4: tests that are long by nature do not run here (SLOW), nor does the model of the waiter, which tries at random:
where only that would notice, a test is missing.  Nor do those whose subject is another module (ELSEWHERE): a mutant
that survives costs the time of all tests.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import faulthandler
import importlib
import itertools
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType
from typing import Any

import pytest

from workspace import ROOT

SOURCES = ROOT / "packages/hub-core/src/hub_core"
MODULES = ("_waiter", "_ready", "_carriers", "_hub")
SLOW = "Model or 10000 or 5000 or 200_threads or guard or only_the_hubs_module or leaves_something or exit_code"
ELSEWHERE = "test_report or test_watch or test_testing or test_surface or test_exit or test_storage"
HANGS = 30  # seconds for one test: a loaded machine takes ten for what a quiet one does in two


# -- mutants ----------------------------------------------------------------------------------------------------------


class Bare(ast.NodeTransformer):
    """Takes away what does not run."""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return ast.Assign([node.target], node.value, lineno=0) if node.value else None

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


def program(text: str) -> str:
    """What of `text` runs."""
    return ast.dump(Bare().visit(ast.parse(text)))


def mutants(text: str) -> Iterator[str]:
    """Each text that differs from `text` in one place, and as a program."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    seen = {program(text)}
    for operator in operator_names():
        kind = get_operator(operator)
        if kind.arguments():
            continue  # made for one variable, which somebody names
        for occurrence in itertools.count():
            try:
                mutant = mutate_code(text, kind(), occurrence)
                if mutant is None:
                    break
                what = program(mutant)
            except SyntaxError:
                continue
            except AttributeError:  # of cosmic-ray, whose replacer of exceptions knows no dotted names
                continue
            if what not in seen:
                seen.add(what)
                yield mutant


def difference(module: str, text: str, mutant: str) -> str:
    """The lines that differ."""
    return "\n".join(list(difflib.unified_diff(text.splitlines(), mutant.splitlines(), module, lineterm="", n=1))[2:])


# -- grafting ---------------------------------------------------------------------------------------------------------


def graft(module: str, mutant: str) -> int:
    """Give the module's functions, classes and numbers what the mutant has; returns how many differed."""
    now = vars(importlib.import_module(f"hub_core.{module}"))
    then: dict[str, Any] = {"__name__": f"hub_core.{module}"}
    exec(compile(mutant, str(SOURCES / f"{module}.py"), "exec"), then)
    changed = 0
    for name, new in then.items():
        old = now.get(name)
        if isinstance(new, type) and new.__module__ == then["__name__"]:
            changed += sum(graft_member(old, attribute, value) for attribute, value in vars(new).items())
        elif isinstance(new, FunctionType) and new.__module__ == then["__name__"]:
            changed += graft_function(old, new)
        elif isinstance(new, int | float | frozenset) and new != old:
            now[name] = new
            changed += 1
    return changed


def graft_member(owner: Any, name: str, new: Any) -> int:
    old = vars(owner).get(name)
    if isinstance(new, property) and isinstance(old, property):
        return sum(graft_function(*pair) for pair in ((old.fget, new.fget), (old.fset, new.fset)) if pair[1])
    if isinstance(new, FunctionType) and isinstance(old, FunctionType):
        return graft_function(old, new)
    if type(new) is not type(old):  # a decorator is gone
        setattr(owner, name, new)
        return 1
    return 0


def graft_function(old: Any, new: Any) -> int:
    if bare(old.__code__) == bare(new.__code__) and old.__defaults__ == new.__defaults__:
        return 0
    for name, module in list(sys.modules.items()):
        if name.startswith("hub_core"):
            for key, value in list(vars(module).items()):
                if value is old.__code__:  # of `park`, which reports know a parked greenlet's frame by
                    setattr(module, key, new.__code__)
    old.__code__, old.__defaults__ = new.__code__, new.__defaults__
    return 1


def bare(code: CodeType) -> object:
    """What two codes have in common if they do the same, wherever they stand."""
    consts = tuple(bare(each) if isinstance(each, CodeType) else (type(each), each) for each in code.co_consts)
    return code.co_code, consts, code.co_names, code.co_varnames


# -- tests ------------------------------------------------------------------------------------------------------------


class Trials:
    """A pytest plugin that runs the collected tests once for each mutant."""

    def __init__(self, modules: Sequence[str], every: int) -> None:
        self._modules = modules
        self._every = every
        self._kills: Counter[str] = Counter()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if self.killer(session, "_hub", ""):
            raise pytest.UsageError(f"with nothing changed there fails {self._kills}")
        total = killed = 0
        for module in self._modules:
            text = (SOURCES / f"{module}.py").read_text("utf-8")
            for mutant in itertools.islice(mutants(text), self._every // 2, None, self._every):
                total += 1
                if self.killer(session, module, mutant):
                    killed += 1
                else:
                    print(difference(module, text, mutant), file=sys.__stderr__, flush=True)
            print(f"-- {module}: so far {killed} of {total} killed", file=sys.__stderr__, flush=True)
        return True

    def killer(self, session: pytest.Session, module: str, mutant: str) -> bool:
        """Whether a test notices the mutant."""
        session.items.sort(key=lambda item: -self._kills[item.nodeid])
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                self.run(session, module, mutant, writer)
            finally:
                os._exit(3)
        os.close(writer)
        with open(reader, encoding="utf-8") as running:  # to the end of the child, and of those that it left behind
            last = running.read().splitlines()[-1:]
        status = os.waitpid(child, 0)[1]
        if status:
            self._kills.update(last)
        return status != 0

    def run(self, session: pytest.Session, module: str, mutant: str, tell: int) -> None:
        """In the child: end with status 0 if all tests pass."""
        if mutant and not graft(module, mutant):
            os._exit(0)
        silent = os.open(os.devnull, os.O_WRONLY)
        for item, after in zip(session.items, [*session.items[1:], None], strict=True):
            os.write(tell, f"{item.nodeid}\n".encode())
            faulthandler.dump_traceback_later(HANGS, exit=True, file=silent)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if session.testsfailed:
                os._exit(1)
        os._exit(0)


def main(modules: Sequence[str], every: int) -> int:
    """Try the mutants of these modules, or every so many of them."""
    options = [
        "-k",
        f"not ({SLOW} or {ELSEWHERE})",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "-o",
        "timeout=0",
    ]
    for plugin in ("cacheprovider", "randomly", "faulthandler", "terminal"):
        options += ["-p", f"no:{plugin}"]
    with warnings.catch_warnings():
        return int(pytest.main([*options, str(ROOT / "tests/hub_core")], plugins=[Trials(modules, every)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", nargs="*", default=MODULES)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try one of so many")
    arguments = parser.parse_args()
    sys.exit(main(arguments.module, arguments.every))
