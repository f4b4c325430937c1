from typing import Any

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every matplotlib figure that is drawn."""
    figures: list[Figure] = []
    savefig = Figure.savefig

    def remember(figure: Figure, *args: Any, **options: Any) -> None:
        savefig(figure, *args, **options)
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures
