"""Pages from templates: strict about names, and whatever comes from data is escaped.

A page's template extends `page.html`, which says that nothing is loaded and nothing runs, and fills its blocks `title`,
`style` and `content`. `parts.html` holds what several pages show alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FRAME = Path(__file__).parent / "templates"


def render(
    templates: Path,
    name: str,
    view: Mapping[str, Any],
    *,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    escape: bool = True,
) -> str:
    """The text of a template.

    Args:
        templates: folder of the template; it can extend and import those of the frame.
        name: of the template.
        view: what it shows, by name; a name that is missing is an error.
        filters: further filters besides `shortened`.
        escape: whether values become HTML text; without, the template must escape them itself.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([templates, FRAME]),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({"shortened": shortened, **(filters or {})})
    return environment.get_template(name).render(view)


def shortened(text: str, characters: int) -> str:
    """The first characters of a text, with a mark where it was cut."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"
