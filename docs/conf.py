"""How the documentation is built: Sphinx with furo and MyST, from this tree alone and without the network.

Warnings are errors in the gate.  nitpicky is on: what is written as a cross-reference must lead somewhere.  The names
that signatures take from elsewhere are excepted below: without the inventories of other projects nobody knows where
they lead, and fetching those would need the network.
"""

import re
import runpy
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sphinx.application import Sphinx

_about = Path(__file__).parent.parent / "packages/greenlet-hub/src/greenlet_hub/__about__.py"

project = "greenlet-hub"
author = "the hub family authors"
copyright = f"2026, {author}"
release = version = runpy.run_path(str(_about))["__version__"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "literal"  # docstrings put names in single backticks, as Markdown does
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(?:.*\.)?(?:T|Ts|T_co|P|P\.args|P\.kwargs)"),  # what is generic
    ("py:class", r"(?:.*\._|_).*"),  # classes that are documented by their Protocol, or by the class that is public
    ("py:class", r"(?:collections|concurrent|os|pathlib|traceback|types|typing|contextvars|greenlet)\..*"),
    ("py:class", r"(?:Callable|Context|Path|StackSummary|TracebackType).*"),
    # Names of a class's own module that only its annotations use.
    ("py:class", "Callback|Child|HubBase|ICall|Interrupt|Ledger|LookupOptions|Poller|Signal|Stat"),
]
suppress_warnings = ["ref.python"]  # the type greenlet and attributes of that name are told apart by nobody
autodoc_typehints = "signature"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"greenlet-hub {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]

# -- docstrings -----------------------------------------------------------------------------------------------------
# They are plain text: a sentence, then `Call from:`, `Switches:` and `Raises` as sentences of a paragraph.  On the
# pages these become fields, each on a line of its own.

_field = re.compile(
    r"(?:^|(?<=[.;:)]\s)|(?<=\.\s\s))(Call from(?:, switches)?(?:, raises)?:|Switches:|Raises(?= \S))\s+", re.MULTILINE
)
_prose = re.compile(r"[^\s>:|+*-]")  # how a paragraph begins that is no list, table, block or field


def _paragraph(lines: list[str]) -> list[str]:
    """The lines of a paragraph, with its fields taken out of the sentences."""
    text = "\n".join(lines)
    if not _prose.match(text):
        return lines
    before, *parts = _field.split(text)
    shown = before.strip().splitlines()
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        shown += [""] * (name == parts[0] and bool(shown))
        first, *others = body.strip().splitlines()
        shown += [f":{name.rstrip(':')}: {first}", *(f"    {line.strip()}" for line in others)]
    return shown


def fields(app: "Sphinx", what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    shown: list[str] = []
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            paragraph.append(line)
        else:
            shown += [*_paragraph(paragraph), ""] if paragraph else [""]
            paragraph = []
    lines[:] = shown


def no_signature(app: "Sphinx", what: str, name: str, obj: object, *others: object) -> tuple[str, str] | None:
    """Nobody calls a Protocol; autodoc would show `(*args, **kwargs)`."""
    return ("", "") if what == "class" and getattr(obj, "_is_protocol", False) else None


def setup(app: "Sphinx") -> None:
    app.connect("autodoc-process-docstring", fields)
    app.connect("autodoc-process-signature", no_signature)
