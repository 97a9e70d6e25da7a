# SPDX-License-Identifier: Apache-2.0
"""Small charts as SVG: two linear axes, lines, dots, bars, words."""
import math
from xml.sax.saxutils import escape

INK, FAINT, OURS, THEIRS, BAR = "#24292f", "#d0d7de", "#0969da", "#8c6d1f", "#cf222e"
FONT = "font-family='system-ui,Helvetica,Arial,sans-serif'"


def steps(low, high, count=6):
    """Round numbers between low and high, about so many."""
    rough = (high - low) / count
    size = 10 ** math.floor(math.log10(rough))
    size *= next(factor for factor in (1, 2, 5, 10) if rough <= factor * size)
    first = math.ceil(low / size - 1e-9)
    return [index * size for index in range(first, math.floor(high / size + 1e-9) + 1)]


def number(value):
    return f"{value:.10g}"


class Chart:
    """One plotting area inside a drawing; y grows upwards."""

    def __init__(self, drawing, box, x, y):
        self.drawing = drawing
        self.left, self.top, self.width, self.height = box
        (self.x0, self.x1), (self.y0, self.y1) = x, y

    def at(self, x, y):
        return (self.left + (x - self.x0) / (self.x1 - self.x0) * self.width,
                self.top + (1 - (y - self.y0) / (self.y1 - self.y0)) * self.height)

    def x_axis(self, title, grid=True):
        bottom = self.top + self.height
        for value in steps(self.x0, self.x1):
            x, _ = self.at(value, self.y0)
            if grid:
                self.drawing.line([(x, self.top), (x, bottom)], FAINT, 1)
            self.drawing.text(x, bottom + 16, number(value), anchor="middle")
        self.drawing.line([(self.left, bottom), (self.left + self.width, bottom)], INK, 1)
        self.drawing.text(self.left + self.width / 2, bottom + 36, title, anchor="middle")

    def y_axis(self, title):
        for value in steps(self.y0, self.y1, 5):
            _, y = self.at(self.x0, value)
            self.drawing.line([(self.left, y), (self.left + self.width, y)], FAINT, 1)
            self.drawing.text(self.left - 8, y + 4, number(value), anchor="end")
        self.drawing.text(self.left - 44, self.top - 10, title)

    def line(self, points, colour, width=2, opacity=1.0):
        self.drawing.line([self.at(*point) for point in points], colour, width, opacity)

    def dot(self, x, y, colour):
        self.drawing.dot(*self.at(x, y), colour)

    def upright(self, x, colour, words, dashes="5 4"):
        """A line across the height at x, named at its upper end."""
        column, _ = self.at(x, self.y0)
        self.drawing.line([(column, self.top), (column, self.top + self.height)], colour, 1.5, dashes=dashes)
        self.drawing.text(column, self.top - 6, words, colour, anchor="middle")

    def bar(self, x, y, thickness, colour):
        left, middle = self.at(self.x0, y)
        right, _ = self.at(x, y)
        self.drawing.box(left, middle - thickness / 2, max(right - left, 1), thickness, colour)


class Drawing:
    def __init__(self, width, height, title, *captions):
        self.width, self.height, self.parts = width, height, []
        self.text(20, 30, title, size=17, weight=600)
        for row, caption in enumerate(reversed(captions)):
            self.text(20, height - 14 - 15 * row, caption, "#57606a", size=11)

    def line(self, points, colour, width, opacity=1.0, dashes=None):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = f" stroke-dasharray='{dashes}'" if dashes else ""
        self.parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='{width}' "
                          f"stroke-opacity='{opacity}' stroke-linejoin='round'{dashes}/>")

    def dot(self, x, y, colour):
        self.parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4.5' fill='{colour}' fill-opacity='0.65'/>")

    def box(self, x, y, width, height, colour):
        self.parts.append(f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}' "
                          f"fill='{colour}'/>")

    def text(self, x, y, words, colour=INK, size=12, anchor="start", weight=400):
        self.parts.append(f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
                          f"text-anchor='{anchor}' fill='{colour}'>{escape(words)}</text>")

    def save(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {self.width} {self.height}' "
            f"width='{self.width}' height='{self.height}' {FONT}>\n"
            f"<rect width='{self.width}' height='{self.height}' fill='white'/>\n"
            + "\n".join(self.parts) + "\n</svg>\n", encoding="utf-8")
