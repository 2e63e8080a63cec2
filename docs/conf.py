"""How the documentation is built: Sphinx with furo and MyST, from this tree alone and without the network.

Warnings are errors in the gate.  nitpicky is off: without the inventories of other projects it would flag every name
that a signature takes from the standard library, and fetching those would need the network.
"""

import runpy
from pathlib import Path

_about = Path(__file__).parent.parent / "packages/greenlet-hub/src/greenlet_hub/__about__.py"

project = "greenlet-hub"
author = "the hub family authors"
copyright = f"2026, {author}"
release = version = runpy.run_path(str(_about))["__version__"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "literal"  # docstrings put names in single backticks, as Markdown does
suppress_warnings = ["ref.python"]  # the type greenlet and attributes of that name are told apart by nobody
autodoc_typehints = "signature"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"greenlet-hub {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
