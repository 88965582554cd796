"""The front page: its parts in one document that needs nothing else, and the policy that holds it to that."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

PARTS = Path(__file__).parent / "page"
SCRIPTS = ("page.js", "search.js", "ask.js", "attribute.js", "map.js", "start.js")
"""In the order in which they run."""


@cache
def front_page() -> tuple[str, dict[str, str]]:
    """The page's HTML, and the headers that go with it."""
    style = (PARTS / "page.css").read_text(encoding="utf-8")
    script = '"use strict";\n' + "".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    frame = (PARTS / "index.html").read_text(encoding="utf-8")
    page = frame.replace("<style></style>", f"<style>{style}</style>")
    page = page.replace("<script></script>", f"<script>{script}</script>")
    # Nothing from elsewhere, and no script or style but the page's own, whatever a document may hold.
    policy = (
        f"default-src 'none'; style-src {_own(style)}; script-src {_own(script)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return page, headers


def _own(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}'"
