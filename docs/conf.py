"""Sphinx's configuration. Pages are generated first: build with ``make docs``."""

import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math import latex2mathml

sys.path.insert(0, str(Path(__file__).parent.parent))

import ihomer

project = "ihomer"
author = "the authors of ihomer"
copyright = "2026, the authors of ihomer"  # noqa: A001 - Sphinx's name for it
version = release = ihomer.__version__
html_title = f"ihomer {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
default_role = "code"  # in docstrings single backquotes are names
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["site.css"]
# No page may ask the network for anything; the theme brings its own fonts and script.
html_theme_options = {"source_repository": "", "footer_icons": []}
html_math_renderer = "mathml"


def _visit_inline(self, node):
    self.body.append(latex2mathml.tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def _visit_block(self, node):
    found = latex2mathml.tex2mathml(node.astext(), as_block=True)
    self.body.append(f'<div class="math">{found}</div>\n')
    raise nodes.SkipNode


def setup(app):
    """Formulas as MathML, which browsers draw by themselves: no script, no font, no network."""
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
