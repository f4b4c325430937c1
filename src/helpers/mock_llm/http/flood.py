"""Tells a client that asks for much from one that only makes work: HTTP/2's floods."""

from __future__ import annotations

from time import perf_counter

from h2.exceptions import DenialOfServiceError
from h2.frame_buffer import FrameBuffer
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame

_CREDIT, _CREDIT_PER_SECOND = 1_000.0, 100.0


class Frames(FrameBuffer):
    """The frames that a client sends. Raises DenialOfServiceError when they are a flood.

    Each frame that asks for nothing (ping, settings, reset, empty data, …) costs credit; each frame
    of an answer earns twice that, and time restores it. A client without credit causes work and
    takes no answers, as in CVE-2023-44487, CVE-2019-9512, -9514, -9515 and -9518.
    """

    def __init__(self) -> None:
        super().__init__(server=True)
        self.goaway_received = False
        self._credit = _CREDIT
        self._counted = perf_counter()

    def earn(self) -> None:
        """Count a frame of an answer."""
        self._credit = min(_CREDIT, self._credit + 2)

    def __next__(self) -> Frame:
        while True:
            frame = super().__next__()
            if not _asks(frame):
                self._spend()
            if not isinstance(frame, GoAwayFrame):
                return frame
            # Kept from h2, which would not finish the answers that the client still waits for.
            self.goaway_received = True

    def _spend(self) -> None:
        self._credit -= 1
        if self._credit < 0:
            now = perf_counter()
            self._credit = min(_CREDIT, (now - self._counted) * _CREDIT_PER_SECOND) - 1
            self._counted = now
        if self._credit < 0:
            raise DenialOfServiceError("too many frames that ask for nothing")


def _asks(frame: Frame) -> bool:
    if isinstance(frame, DataFrame):
        return bool(frame.data) or "END_STREAM" in frame.flags
    return isinstance(frame, HeadersFrame)
