"""Runs axe-core, which a Python package ships, on a page."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_OPTIONS = {"resultTypes": ["violations"]}
_UNFOLD = "() => document.querySelectorAll('details').forEach(each => each.open = true)"


def findings(page: Page) -> list[str]:
    """What is a serious or critical obstacle, with the first element of each; also in folds."""
    page.evaluate(_UNFOLD)
    found = Axe().run(page, options=_OPTIONS).response["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
