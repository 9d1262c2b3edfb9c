"""The site of the documentation: ``make docs``."""

from __future__ import annotations

from typing import Any

project = "django_workflow"
author = "django_workflow contributors"
project_copyright = "django_workflow contributors"

extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["grafana"]
root_doc = "index"
# Blocks without a language are settings in part, trees or output.
highlight_language = "none"
myst_heading_anchors = 4
# What is copied from a console is the command alone.
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
nitpicky = True

html_theme = "furo"
html_title = "django_workflow"
html_copy_source = False
html_theme_options: dict[str, Any] = {"navigation_with_keys": True}
