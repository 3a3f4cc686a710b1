"""The step law as a small drawing: errors of central differences over their steps, between the proved bounds.

Both axes are logarithmic, so truncation falls and rounding rises along straight lines: a V. The drawing is inline SVG
without scripts or colours of its own; the page's style sheet gives it those of its themes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from verify.errors import line_of, printable
from verify.records import StepLaw, format_entry
from verify.report.wording import magnitude

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 44
"""Room around the area, in units of the drawing."""

MOST_TICKS = 6


def step_plot(law: StepLaw) -> Markup:
    """The drawing of one law, empty where nothing finite was measured.

    >>> law = StepLaw("x", (), 0, (1.0, 0.25), (0.1, 0.01), (0.2, 0.02), (1e-16, 1e-15), 0.25, 0.02, "x: fine")
    >>> str(step_plot(law))[:88]
    '<svg class="plot" viewBox="0 0 420 240" width="420" role="img"><title>Errors of central '
    """
    from markupsafe import Markup

    known = [*law.errors, *(t + r for t, r in zip(law.truncation, law.rounding, strict=True))]
    heights = [x for x in known if 0 < x < math.inf]
    if not heights:
        return Markup("")
    across, up = _Axis(law.steps, LEFT, WIDTH - RIGHT), _Axis(heights, HEIGHT - BOTTOM, TOP)
    parts = [
        _grid(across, up),
        _line("truncation", across, up, law.steps, law.truncation),
        _line("rounding", across, up, law.steps, law.rounding),
        _best(across, law.best_step),
        _dots("errors", across, up, law.steps, law.errors),
        _dots("exact", across, up, law.steps, [up.low if error == 0 else math.nan for error in law.errors]),
    ]
    name = f"{line_of(law.variable)}{format_entry(law.entry)}"
    ends = (magnitude(x) for x in (law.steps[-1], law.steps[0], min(law.errors), max(law.errors)))
    return picture(
        "plot",
        (WIDTH, HEIGHT),
        f"Errors of central differences of {name}",
        "Over {} steps from {} to {}: least {}, most {}.".format(len(law.steps), *ends),
        Markup("").join(Markup(part) for part in parts),  # noqa: S704 - numbers of ours
    )


def picture(kind: str, size: tuple[int, int], title: str, told: str, body: Markup) -> Markup:
    """A drawing that says in words what is seen; its title and what is told are escaped.

    >>> from markupsafe import Markup
    >>> picture("plot", (4, 2), "a < b", "A line.", Markup("<path/>"))
    Markup('<svg class="plot" viewBox="0 0 4 2" width="4" role="img"><title>a &lt; b</title><desc>A line.</desc>...
    """
    from markupsafe import Markup

    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" width="{}" role="img"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(kind, *size, size[0], printable(title), printable(told), body)


class _Axis:
    """From numbers to places, on a logarithmic scale of whole decades."""

    def __init__(self, numbers: Iterable[float], start: float, end: float) -> None:
        logs = [math.log10(x) for x in numbers if 0 < x < math.inf]
        self.first, self.last = math.floor(min(logs)), math.ceil(max(logs))
        self.last = max(self.last, self.first + 1)
        self.start, self.end = start, end
        self.low = 10.0**self.first

    def at(self, log: float) -> float:
        """The place of a power of ten."""
        return self.start + (log - self.first) / (self.last - self.first) * (self.end - self.start)

    def place(self, x: float) -> float:
        """The place of a number; NaN where it has none."""
        return self.at(math.log10(x)) if 0 < x < math.inf else math.nan

    def ticks(self) -> range:
        """Powers of ten that are written down."""
        every = max(1, math.ceil((self.last - self.first) / MOST_TICKS))
        return range(self.first + (-self.first) % every, self.last + 1, every)


def _grid(across: _Axis, up: _Axis) -> str:
    floor, left = HEIGHT - BOTTOM, LEFT
    lines, words = [], []
    for power in across.ticks():
        lines.append(f"M{across.at(power):.0f} {floor}V{TOP}")
        words.append(_word(across.at(power), floor + 16, "m", _power(power)))
    for power in up.ticks():
        lines.append(f"M{left} {up.at(power):.0f}H{WIDTH - RIGHT}")
        words.append(_word(left - 6, up.at(power) + 4, "e", _power(power)))
    words.append(_word((left + WIDTH - RIGHT) / 2, HEIGHT - 8, "m", "step"))
    words.append(f'<text transform="translate(12 {(TOP + floor) / 2:.0f}) rotate(-90)" class="m">error</text>')
    return f'<path class="grid" d="{"".join(lines)}"/>{"".join(words)}'


def _power(power: int) -> str:
    return f"1e{power}"


def _word(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{anchor}">{text}</text>'


def _line(kind: str, across: _Axis, up: _Axis, steps: Sequence[float], bounds: Sequence[float]) -> str:
    """A bound, cut off at the edges of the area by a drawing inside the drawing; what is far outside is left out."""
    places = [(across.place(h), up.place(bound)) for h, bound in zip(steps, bounds, strict=True)]
    inside = [TOP <= y <= HEIGHT - BOTTOM for _, y in places]
    near = [any(inside[max(i - 1, 0) : i + 2]) for i in range(len(inside))]
    places = [place if shown else (math.nan, math.nan) for place, shown in zip(places, near, strict=True)]
    runs: list[list[str]] = [[]]
    for x, y in places:
        if math.isnan(y):
            runs.append([])
        else:
            runs[-1].append(f"{x:.0f} {y:.0f}")
    path = "".join("M" + "L".join(run) for run in runs if len(run) > 1)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return (
        f'<svg x="{LEFT}" y="{TOP}" width="{width}" height="{height}" viewBox="{LEFT} {TOP} {width} {height}">'
        f'<path class="{kind}" d="{path}"/></svg>'
    )


def _best(across: _Axis, step: float) -> str:
    x = across.place(step)
    return "" if not LEFT <= x <= WIDTH - RIGHT else f'<path class="best" d="M{x:.0f} {HEIGHT - BOTTOM}V{TOP}"/>'


def _dots(kind: str, across: _Axis, up: _Axis, steps: Sequence[float], errors: Sequence[float]) -> str:
    places = [(across.place(h), up.place(error)) for h, error in zip(steps, errors, strict=True)]
    path = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in places if not math.isnan(y))
    return f'<path class="{kind}" d="{path}"/>' if path else ""
