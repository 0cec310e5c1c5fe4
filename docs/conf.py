"""How Sphinx builds the documentation (`make docs`)."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from pathlib import Path

import landform

HERE = Path(__file__).parent

project = "landform"
author = "The landform founders"
copyright = f"2026, {author}"
version = release = landform.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
default_role = "py:obj"  # docstrings name things in single backticks
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "landform"

# The gallery: every examples/plot_*.py is run, and shown with what it printed and drew.
if any((HERE.parent / "examples").glob("plot_*.py")):
    extensions.append("sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = {"examples_dirs": "../examples", "gallery_dirs": "_gallery", "abort_on_example_error": True}


def write_api_pages(folder: Path) -> None:
    """One page for each public module of landform, so that a new room appears without being listed here."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for module in pkgutil.walk_packages(landform.__path__, "landform."):
        above, _, own = module.name.rpartition(".")
        parent = importlib.import_module(above)
        # What a room gives out of a part of it stands on the room's own page.
        given_out = above == "landform" or own in getattr(parent, "__all__", ())
        if given_out and not any(part.startswith("_") for part in module.name.split(".")):
            told = f".. automodule:: {module.name}\n   :members:\n"
            if above != "landform":  # a name that the room gives out too is looked up there
                told += "   :no-index:\n"
            page = f"# `{module.name}`\n\n```{{eval-rst}}\n{told}```\n"
            (folder / f"{module.name.partition('.')[2]}.md").write_text(page, encoding="utf-8")


write_api_pages(HERE / "_api")
