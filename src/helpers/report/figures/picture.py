"""A finished figure: small, with alternative text, for JupyterLab, GitHub and nbconvert."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# a browser's pixels per inch
_CSS_DPI = 96


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG and the sentence that says what it shows.

    ``width`` is in CSS pixels: the PNG has more, for high-resolution screens.
    """

    png: bytes = field(repr=False)
    alt: str
    width: int

    @classmethod
    def of(cls, figure: Figure, caption: str) -> Picture:
        """Draw matplotlib's figure. Raises `ValueError` if the caption is empty."""
        if not caption.strip():
            raise ValueError("A picture needs a caption: it is also its alternative text.")
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
        return cls(_small(out.getvalue()), caption, round(figure.get_figwidth() * _CSS_DPI))

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        encoded = base64.b64encode(self.png).decode()
        alt = html.escape(self.alt)
        # JupyterLab ignores the alternative text of image/png, so it gets the figure as HTML.
        page = (
            f'<figure style="margin: 0; width: {self.width}px; max-width: 100%">'
            f'<img alt="{alt}" src="data:image/png;base64,{encoded}" width="{self.width}" '
            f'style="width: 100%; height: auto">'
            f"<figcaption>{alt}</figcaption></figure>"
        )
        data = {"image/png": encoded, "text/html": page, "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt, "width": self.width}}


def _small(png: bytes) -> bytes:
    """The same image with a palette of 128 colors: a third of the bytes, and no visible loss."""
    # Here, as matplotlib: a notebook's kernel only shows pictures.
    from PIL import Image

    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        flat = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        flat.save(out, "PNG", optimize=True)
    return out.getvalue()
