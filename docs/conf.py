"""Settings of the documentation's site: `scripts/docs` builds it."""

import re

import affinity

for name in affinity.__all__:  # imported when first used, so used here
    getattr(affinity, name)

project = "task-affinity"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = "task-affinity"
html_show_sphinx = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
myst_heading_anchors = 3
exclude_patterns = ["conf.py"]
suppress_warnings = ["myst.xref_missing", "ref.python", "docutils"]


def setup(app):
    """Show links to reports, which are files of the repository, as their paths."""
    app.connect("source-read", _without_links_to_reports)


def _without_links_to_reports(app, docname, source):
    source[0] = re.sub(r"\[([^\]]+)\]\(\.\./reports/([^)]*)\)", r"`reports/\2`", source[0])
