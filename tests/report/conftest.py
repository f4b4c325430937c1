import pytest

from helpers.report.sheet import Sheet


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[Sheet]:
    """Every sheet that is drawn."""
    drawn: list[Sheet] = []
    png = Sheet.png

    def remember(sheet: Sheet) -> bytes:
        drawn.append(sheet)
        return png(sheet)

    monkeypatch.setattr(Sheet, "png", remember)
    return drawn
