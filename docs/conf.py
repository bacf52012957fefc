"""Sphinx configuration: `nox -s docs` builds with warnings as errors."""

from importlib.metadata import version as _version

project = "trio_projectx"
author = "The trio_projectx contributors"
copyright = "2026, the trio_projectx contributors"
release = _version("trio-projectx")
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinxcontrib_trio",
    "myst_parser",
]
html_theme = "furo"
html_title = f"trio_projectx {release}"
exclude_patterns = ["_build", "pytest.ini", "conftest.py"]
myst_heading_anchors = 3
default_role = "any"
nitpicky = False
suppress_warnings = ["ref.any", "myst.xref_missing"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
# sphinxcontrib-trio subclasses the documenters of autodoc's first implementation.
autodoc_use_legacy_class_based = True
intersphinx_mapping = {}
