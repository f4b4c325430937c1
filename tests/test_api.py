"""docs/api.md shows every exported name as it is."""

import re

import helpers
from tests.api import PAGE, page


def test_the_page_is_in_step_with_the_docstrings() -> None:
    assert PAGE.read_text("utf-8") == page(), "docs/api.md is stale: run `make api`"


def test_every_exported_name_is_linked_and_explained() -> None:
    head, *sections = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    explained = {}
    for section in sections:
        name, _, text = section.partition("\n")
        explained[name] = re.sub(r"^```python\n.*?^```$", "", text, flags=re.M | re.S).strip()
    assert sorted(explained) == sorted(dir(helpers))
    assert [name for name, text in explained.items() if not text] == []
    assert len(set(re.findall(r"\]\(#([\w-]+)\)", head))) == len(explained)
