"""What one more exported megawatt costs: the exact supply curve of a microgrid in one period.

The least cost C(x) of exporting exactly x in a period is the value of a convex quadratic program
whose right side moves with x: it is convex and consists of parabolas, so marginal cost consists of
straight lines that never fall, and jumps. Each solve gives a value, a slope (the multiplier) and a
curvature (from the active bounds), hence one of the parabolas. Two of them with no other in between
meet where the values say so:

    integral from p to k of line_p + integral from k to q of line_q = C(q) - C(p).              (6)

k is confirmed by solving there and on both sides; if a third parabola lies in between, the middle
is solved next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nashgrid.baselines.microgrid.hybrid import HybridMicrogrid
from nashgrid.baselines.microgrid.program import (
    SOURCES,
    checked_period,
    marginal_slope,
    most_export_mw,
    program,
    solve,
)
from nashgrid.envs.core.contract import FloatArray

VALUE_EUR = 2e-6  # two parabolas agree on a value, per EUR of 1 + C / 1000
MARGINAL_EUR_PER_MWH = 1e-3  # a marginal cost is on a line
BENT_EUR_PER_MWH = 1e-2  # two lines are one, over the whole interval
EDGE = 1e-3  # the outermost solves, as a share of the interval, from its ends
SHORTEST = 1e-6  # pieces below this share of the interval are not told apart
BESIDE = 0.0317  # of the way from a knot to the solves that it was told from
CUT = 0.4721  # of an interval, where it is cut: not the middle, where round numbers put knots


@dataclass(frozen=True, eq=False)
class SupplyCurve:
    """Cost of exporting x in [0, available_mw] in one period, K parabolas.

    period         : index of the period
    knots_mw       : f64[K + 1], from 0 to available_mw
    cost_eur       : f64[K + 1], C(x) - C(0) at the knots
    marginal_eur_per_mwh : f64[K, 2], marginal cost at the two ends of each piece
    idle_eur       : C(0), the cost of all periods without export in this one
    hours          : length of the period
    error_eur      : largest difference of the pieces from a solved program
    solves         : programs that were solved
    """

    period: int
    knots_mw: FloatArray
    cost_eur: FloatArray
    marginal_eur_per_mwh: FloatArray
    idle_eur: float
    hours: float
    error_eur: float
    solves: int

    @property
    def available_mw(self) -> float:
        return float(self.knots_mw[-1])

    def cost(self, export_mw: FloatArray | float) -> FloatArray:
        """C(x) - C(0), EUR, for x f64[...] in [0, available_mw]."""
        x, k = self._pieces(export_mw)
        at = x - self.knots_mw[k]
        first, slope = self.marginal_eur_per_mwh[k, 0], self._slopes[k]
        return self.cost_eur[k] + self.hours * (first + 0.5 * slope * at) * at

    def marginal(self, export_mw: FloatArray | float) -> FloatArray:
        """Marginal cost, EUR/MWh; from the right at a jump."""
        x, k = self._pieces(export_mw)
        return self.marginal_eur_per_mwh[k, 0] + self._slopes[k] * (x - self.knots_mw[k])

    @property
    def _slopes(self) -> FloatArray:
        rise = self.marginal_eur_per_mwh[:, 1] - self.marginal_eur_per_mwh[:, 0]
        slope: FloatArray = rise / np.diff(self.knots_mw)
        return slope

    def _pieces(self, export_mw: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        x = np.asarray(export_mw, dtype=np.float64)
        slack = 1e-9 * max(self.available_mw, 1.0)
        if not ((x >= -slack) & (x <= self.available_mw + slack)).all():
            raise ValueError(
                f"export_mw from {x.min():g} to {x.max():g}: the curve covers 0 to "
                f"{self.available_mw:g} MW"
            )
        last = len(self.knots_mw) - 2
        return x, np.clip(np.searchsorted(self.knots_mw, x, side="right") - 1, 0, last)


class _Point(NamedTuple):
    """A solve: C (EUR), and the line of marginal cost there, EUR/MW and EUR/MW^2."""

    x: float
    value: float
    marginal: float
    slope: float

    def at(self, x: float) -> float:
        """Its parabola at x."""
        return self.value + (self.marginal + 0.5 * self.slope * (x - self.x)) * (x - self.x)

    def line(self, x: float) -> float:
        return self.marginal + self.slope * (x - self.x)


def supply_curve(microgrid: HybridMicrogrid, period: int) -> SupplyCurve:
    """The curve of one period; in the others the tariff applies.

    Raises ValueError where the period cannot do without import, or where nothing can be exported.
    """
    period = checked_period(microgrid, period)
    most = most_export_mw(microgrid, period)
    if most <= 1e-6:
        raise ValueError(
            f"nothing can be exported in period {period}: own load {microgrid.load_mw[period]:g} "
            f"MW, export_limit_mw {microgrid.export_limit_mw:g}"
        )
    return _Curve(microgrid, period, most).found()


class _Curve:
    """The search: what was solved, and how far it was off."""

    def __init__(self, microgrid: HybridMicrogrid, period: int, most: float) -> None:
        self.microgrid, self.period, self.most = microgrid, period, most
        self.solves, self.error = 0, 0.0

    def found(self) -> SupplyCurve:
        first, last = self.solve(0.0), self.solve(self.most)
        p, q = self.solve(EDGE * self.most), self.solve((1.0 - EDGE) * self.most)
        knots = [*self.edge(first, p), *self.between(p, q), *self.edge(last, q)[::-1]]
        # (knot, parabola on its left, parabola on its right), from 0 to most
        xs = np.array([0.0, *(k for k, _, _ in knots), self.most])
        lines = [*(left for _, left, _ in knots), knots[-1][2] if knots else p]
        hours = self.microgrid.hours
        ends = [(li.line(a), li.line(b)) for li, a, b in zip(lines, xs[:-1], xs[1:], strict=True)]
        marginal = np.array(ends) / hours
        cost = np.array([0.0, *(left.at(k) - first.value for k, left, _ in knots),
                         lines[-1].at(self.most) - first.value])  # fmt: skip
        return SupplyCurve(self.period, xs, cost, marginal, first.value, hours, self.error,
                           self.solves)  # fmt: skip

    def solve(self, x: float) -> _Point:
        plan = np.full(self.microgrid.periods, np.nan)
        plan[self.period] = min(max(x, 0.0), self.most)
        found = solve(self.microgrid, plan, SOURCES)
        p = program(self.microgrid, plan, SOURCES)
        slope = marginal_slope(p, found.z, found.y, self.period)
        self.solves += 1
        return _Point(x, found.cost, float(found.y[self.period]), slope)

    def same(self, p: _Point, q: _Point) -> bool:
        bent = abs(p.slope - q.slope) * self.most > BENT_EUR_PER_MWH * self.microgrid.hours
        return not bent and self.on(p, q) and self.on(q, p)

    def on(self, p: _Point, q: _Point) -> bool:
        """Whether q lies on the parabola of p. Its own slope is not asked for: near a knot it may
        be told wrongly."""
        off = abs(p.line(q.x) - q.marginal)
        return off <= MARGINAL_EUR_PER_MWH * self.microgrid.hours and self.close(p.at(q.x), q.value)

    def close(self, a: float, b: float) -> bool:
        return abs(a - b) <= VALUE_EUR * (1.0 + abs(b) / 1000.0)

    def edge(self, end: _Point, p: _Point) -> list[tuple[float, _Point, _Point]]:
        """Knots between an end of the interval and the solve next to it.

        The multipliers at an end are not unique, so only its value counts."""
        if self.close(p.at(end.x), end.value):
            self.error = max(self.error, abs(p.at(end.x) - end.value))
            return []
        if abs(end.x - p.x) <= SHORTEST * self.most:
            self.error = max(self.error, abs(p.at(end.x) - end.value))
            return []
        q = self.solve(end.x + 0.1 * (p.x - end.x))
        if end.x < p.x:
            return [*self.edge(end, q), *self.between(q, p)]
        return [*self.edge(end, q), *self.between(p, q)[::-1]]

    def between(self, p: _Point, q: _Point) -> list[tuple[float, _Point, _Point]]:
        """Knots in (p, q), in order."""
        if self.same(p, q):
            return []
        knot = self.meeting(p, q)
        if knot is not None and self.is_knot(p, q, knot):
            return [(knot, p, q)]
        if q.x - p.x <= SHORTEST * self.most:
            middle = 0.5 * (p.x + q.x)
            self.error = max(self.error, abs(p.at(middle) - q.at(middle)))
            return [(middle, p, q)]
        inner = self.solve(p.x + CUT * (q.x - p.x))
        return [*self.between(p, inner), *self.between(inner, q)]

    def is_knot(self, p: _Point, q: _Point, knot: float) -> bool:
        """Whether p's parabola holds up to the knot and q's from there on. The values at the knot
        and on either side of it are asked for: where (6) was solved, it holds by construction."""
        there = self.solve(knot)
        off = abs(p.at(knot) - there.value)
        if not (self.close(p.at(knot), there.value) and self.close(q.at(knot), there.value)):
            return False
        if not self.on(p, self.solve(knot + BESIDE * (p.x - knot))):
            return False
        if not self.on(q, self.solve(knot + BESIDE * (q.x - knot))):
            return False
        self.error = max(self.error, off)
        return True

    def meeting(self, p: _Point, q: _Point) -> float | None:
        """Where two parabolas have the same value, eq. (6): q.at(k) = p.at(k)."""
        # the difference of the parabolas, as a quadratic in k - p.x
        width = q.x - p.x
        c = q.at(p.x) - p.value
        b = q.line(p.x) - p.marginal
        a = 0.5 * (q.slope - p.slope)
        scale = max(abs(c), abs(b) * width, abs(a) * width**2)
        if scale == 0.0:
            return None
        if abs(a) * width**2 <= 1e-9 * scale:
            roots = [-c / b] if b else []
        else:
            # lines that meet make a double root: rounding may leave none
            root = np.sqrt(max(b * b - 4.0 * a * c, 0.0))
            roots = [(-b - root) / (2.0 * a), (-b + root) / (2.0 * a)]
        inside = [r for r in roots if 0.0 < r < width]
        if not inside:
            return None
        crossing = [-b / (2.0 * a)] if a else []
        for r in crossing:
            if 0.0 < r < width and self.close(p.at(p.x + r), q.at(p.x + r)):
                return p.x + r  # marginal cost is continuous: better conditioned than the roots
        rises = [r for r in inside if q.line(p.x + r) >= p.line(p.x + r)]
        return p.x + (rises or inside)[0]
