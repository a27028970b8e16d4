"""Drawing on a block of pixels: what the pictures of both scenario families are made with.

Rectangles are painted straight into the pixels. Lines come from Matplotlib's Agg renderer, and so does text, whose
stamps are kept. No pyplot, no global state. Needs the extra `hmarl-soc[render]`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

WIDTH, HEIGHT = 1280, 800  # pixels
STAMP_HEIGHT, BASELINE = 34, 24  # of a line of text, pixels
MAX_STAMPS = 4096
Color = tuple[int, int, int]

PAPER, PANEL, INK, FAINT, RULE = (244, 246, 248), (255, 255, 255), (28, 36, 46), (120, 130, 142), (214, 220, 227)
GOOD, BAD, WARN, CALM = (32, 140, 84), (200, 30, 44), (196, 128, 8), (74, 92, 112)
ASKED, BOOST = (88, 120, 160), (150, 186, 224)


class Pen:
    """Rectangles, lines and text on one block of pixels; the origin is the top left corner.

    Attributes:
        pixels: (HEIGHT, WIDTH, 4) uint8, writable.
    """

    def __init__(self) -> None:
        try:
            from matplotlib.backends.backend_agg import RendererAgg
            from matplotlib.font_manager import FontProperties
        except ImportError as error:
            message = 'render_mode="rgb_array" needs matplotlib: pip install "hmarl-soc[render]"'
            raise ImportError(message) from error
        self._renderer = RendererAgg(WIDTH, HEIGHT, 72)  # at 72 dpi a point is a pixel
        self._scratch = RendererAgg(WIDTH, STAMP_HEIGHT, 72)
        self._font = FontProperties
        self._stamps: dict[tuple[str, int, bool], np.ndarray] = {}
        self.pixels = np.asarray(self._renderer.buffer_rgba())

    def rect(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        """A filled rectangle; what is outside the picture is left out."""
        x0, y0 = max(0, round(x)), max(0, round(y))
        self.pixels[y0 : max(y0, round(y + height)), x0 : max(x0, round(x + width)), :3] = color

    def bar(self, x: float, y: float, width: float, level: float, color: Color) -> None:
        """A bar that is filled from the left up to `level`, 0 to 1."""
        self.rect(x, y, width, 8, RULE)
        self.rect(x, y, width * level, 8, color)

    def frame(self, x: float, y: float, width: float, height: float, edge: Color, fill: Color, thick: int = 1) -> None:
        """A filled rectangle with a border inside its bounds."""
        self.rect(x, y, width, height, edge)
        self.rect(x + thick, y + thick, width - 2 * thick, height - 2 * thick, fill)

    def text(
        self, x: float, y: float, text: str, size: int = 12, color: Color = INK, bold: bool = False, align: str = "left"
    ) -> None:
        """One line of text with its baseline at y; align says which end of it is at x: left, center or right."""
        stamp = self._stamp(text, size, bold)
        height, width = stamp.shape[:2]
        x0 = max(0, round(x - width * {"left": 0.0, "center": 0.5, "right": 1.0}[align]))
        y0 = round(y) - BASELINE
        spot = self.pixels[y0 : y0 + height, x0 : x0 + width, :3]
        below = spot.astype(np.int32)
        below += (np.array(color, np.int32) - below) * stamp[: spot.shape[0], : spot.shape[1]] // 255
        spot[...] = below

    def _stamp(self, text: str, size: int, bold: bool) -> np.ndarray:
        """(STAMP_HEIGHT, width, 1) int32, how much ink (0..255) a text leaves on each pixel."""
        stamp = self._stamps.get((text, size, bold))
        if stamp is None:
            if len(self._stamps) >= MAX_STAMPS:
                self._stamps.clear()
            font = self._font(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
            width = self._scratch.get_text_width_height_descent(text, font, ismath=False)[0]
            self._scratch.clear()
            self._scratch.draw_text(self._scratch.new_gc(), 0, BASELINE, text, font, 0.0)
            ink = np.asarray(self._scratch.buffer_rgba())[:, : int(np.ceil(width)) + 1, 3:]
            stamp = self._stamps[text, size, bold] = ink.astype(np.int32)
        return stamp

    def arrow(self, start: tuple[float, float], end: tuple[float, float], both: bool) -> None:
        """A line with a head at its end, and at its start too if `both`."""
        from matplotlib.path import Path
        from matplotlib.transforms import Affine2D

        tip, tail = np.array(end, float), np.array(start, float)
        along = (tip - tail) / np.hypot(*(tip - tail))
        across = np.array([-along[1], along[0]])
        context = self._renderer.new_gc()
        color = (FAINT[0] / 255, FAINT[1] / 255, FAINT[2] / 255)
        context.set_foreground(color)
        context.set_linewidth(1.6)
        upright = Affine2D().scale(1, -1).translate(0, HEIGHT)  # Agg's own origin is at the bottom
        self._renderer.draw_path(context, Path([tail + 5 * along * both, tip - 5 * along]), upright)
        for point, way in ((tip, along), (tail, -along)) if both else ((tip, along),):
            head = Path([point, point - 10 * way + 4.5 * across, point - 10 * way - 4.5 * across, point], closed=True)
            self._renderer.draw_path(context, head, upright, color)


class Canvas:
    """A picture whose background is drawn once.

    Attributes:
        size: (height, width) of the pictures, pixels.
    """

    size = (HEIGHT, WIDTH)

    def __init__(self, draw_background: Callable[[Pen], None], draw: Callable[[Pen], None]) -> None:
        """Draws what never changes.

        Args:
            draw_background: Draws that.
            draw: Draws the rest over it; called at each `draw`.

        Raises:
            ImportError: Matplotlib is missing; the message names the extra.
        """
        self._pen, self._draw = Pen(), draw
        draw_background(self._pen)
        self._background = self._pen.pixels.copy()

    def draw(self) -> np.ndarray:
        """(HEIGHT, WIDTH, 3) uint8, the present moment. A fresh array."""
        self._pen.pixels[...] = self._background
        self._draw(self._pen)
        return self._pen.pixels[..., :3].copy()
