"""Sphinx's configuration for `make site`; docs/site.py stages the pages and starts the build."""

import os
from importlib.metadata import version as version_of
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

project = "LLM Anti-Patterns Lab"
author = "The LLM Anti-Patterns Lab developers"
copyright = author
release = version_of("llm-antipatterns")
language = "en"

extensions = ["myst_nb", "sphinx_design"]
# The committed outputs are the ones to show.
nb_execution_mode = "off"
# Scripts that would be loaded from elsewhere.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_merge_streams = True
myst_enable_extensions = ["attrs_block", "colon_fence"]
myst_heading_anchors = 3
myst_heading_slug_func = "docs.site.slug"
# Signatures with "…" are no Python.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "pydata_sphinx_theme"
html_title = project
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
templates_path = ["templates"]
html_sidebars = {"**": ["course.html"]}
html_theme_options: dict[str, Any] = {
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "article_header_end": ["open-in.html"],
    "secondary_sidebar_items": ["page-toc"],
    "primary_sidebar_end": [],
    "search_bar_text": "Search the course",
    "show_toc_level": 2,
    "navigation_depth": 1,
    "logo": {"text": project},
}

# "owner/name", which GitHub's runners set: only a public repository can be opened elsewhere.
html_context = {"repository": os.environ.get("GITHUB_REPOSITORY", "")}


def fold(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Fold the sections that are folded in JupyterLab."""
    for section in list(doctree.findall(nodes.section)):
        title, *rest = section.children
        if "folded" not in [*section["classes"], *title.get("classes", [])]:
            continue
        section.children = []
        section += [_raw('<details class="fold"><summary>'), title, _raw("</summary>")]
        section += [*rest, _raw("</details>")]


def _raw(text: str) -> nodes.raw:
    return nodes.raw("", text, format="html")


def setup(app: Sphinx) -> None:
    app.connect("doctree-resolved", fold)
