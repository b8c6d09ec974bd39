"""A radial distribution feeder with unequal phases, as plain immutable data.

Nothing here computes a power flow. A `Feeder` is hashable and picklable, so that compiled models
can be cached by value and shipped to other processes. Loads are positive when they consume.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

PHASES = "abc"
Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
"""3 x 3, rows and columns in the order a, b, c; zero where a phase is absent."""


@dataclass(frozen=True)
class Bus:
    name: str
    phases: str
    """the phases that exist, a subset of "abc" in that order"""
    v_ll_kv: float


@dataclass(frozen=True)
class LineConfig:
    """Conductors of a line, per unit of length."""

    name: str
    phases: str
    r_ohm_per_km: Matrix
    x_ohm_per_km: Matrix
    b_us_per_km: Matrix
    """line charging of the whole pi section, half of it at each end"""
    ampacity_a: float | None


@dataclass(frozen=True)
class Line:
    name: str
    from_bus: str
    to_bus: str
    config: str
    length_km: float


@dataclass(frozen=True)
class Switch:
    """A closed switch: both buses are one electrical node."""

    name: str
    from_bus: str
    to_bus: str


@dataclass(frozen=True)
class Transformer:
    """Three-phase unit, grounded wye on both sides, so a series impedance per phase."""

    name: str
    from_bus: str
    to_bus: str
    s_kva: float
    r_percent: float
    x_percent: float


@dataclass(frozen=True)
class Load:
    """One phase of a load. `phases` is "a" for phase to ground or "ab" for phase to phase."""

    name: str
    bus: str
    phases: str
    zip: str
    """"P" constant power, "I" constant current, "Z" constant impedance, at nominal voltage"""
    p_kw: float
    q_kvar: float


@dataclass(frozen=True)
class Capacitor:
    """One phase to ground, constant impedance, rated at nominal voltage."""

    bus: str
    phase: str
    q_kvar: float


@dataclass(frozen=True)
class Feeder:
    """A radial feeder. The voltage at `source_bus` is fixed: taps_pu times the source voltage.

    Raises ValueError where buses, phases, names or configurations do not fit together.
    """

    name: str
    source_bus: str
    taps_pu: tuple[float, float, float]
    buses: tuple[Bus, ...]
    lines: tuple[Line, ...]
    configs: tuple[LineConfig, ...]
    switches: tuple[Switch, ...] = ()
    transformers: tuple[Transformer, ...] = ()
    loads: tuple[Load, ...] = ()
    capacitors: tuple[Capacitor, ...] = ()
    frequency_hz: float = 60.0

    def __post_init__(self) -> None:
        _check_names(self)
        _check_branches(self)
        _check_elements(self)

    @cached_property
    def _bus_of(self) -> dict[str, Bus]:
        return {bus.name: bus for bus in self.buses}

    def __getstate__(self) -> dict[str, object]:
        # Cached look-ups stay behind: the pickle holds the fields alone.
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}

    def bus(self, name: str) -> Bus:
        """The bus of that name, or ValueError with the names that exist."""
        if name not in self._bus_of:
            raise ValueError(
                f"bus {name!r} is not in feeder {self.name!r}. Its buses are "
                f"{', '.join(self._bus_of)}; add one with Feeder.with_lateral."
            )
        return self._bus_of[name]

    def config(self, name: str) -> LineConfig:
        """The line configuration of that name, or ValueError with the names that exist."""
        for config in self.configs:
            if config.name == name:
                return config
        raise ValueError(
            f"line configuration {name!r} is not in feeder {self.name!r}. It has "
            f"{', '.join(config.name for config in self.configs)} (Feeder.configs)."
        )

    def with_lateral(self, bus: str, from_bus: str, config: str, length_m: float) -> Feeder:
        """The feeder with one more bus at the end of a new line from an existing bus."""
        line = Line(f"{from_bus}-{bus}", from_bus, bus, config, length_m / 1000.0)
        end = Bus(bus, self.config(config).phases, self.bus(from_bus).v_ll_kv)
        return replace(self, buses=(*self.buses, end), lines=(*self.lines, line))

    def with_loads(self, *loads: Load) -> Feeder:
        """The feeder with further loads."""
        return replace(self, loads=self.loads + loads)


def _check_names(feeder: Feeder) -> None:
    for kind, names in (
        ("bus", [bus.name for bus in feeder.buses]),
        ("branch", [e.name for e in feeder.lines + feeder.switches + feeder.transformers]),
        ("load", [load.name for load in feeder.loads]),
        ("line configuration", [config.name for config in feeder.configs]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(
                f"{kind} names must differ, but {twice} occur twice in {feeder.name!r}"
            )
    for item in feeder.buses + feeder.configs:
        if not item.phases or item.phases not in {"abc", "ab", "ac", "bc", "a", "b", "c"}:
            raise ValueError(
                f"phases = {item.phases!r} of {item.name!r}: give existing phases in the order "
                "a, b, c, for example 'abc' or 'ac'"
            )
    if feeder.bus(feeder.source_bus).phases != PHASES:
        raise ValueError(f"the source bus {feeder.source_bus!r} must have the phases 'abc'")
    if len(feeder.taps_pu) != 3 or not all(0.5 < tap < 1.5 for tap in feeder.taps_pu):
        raise ValueError(f"taps_pu = {feeder.taps_pu}: give three values in (0.5, 1.5), pu")


def _check_branches(feeder: Feeder) -> None:
    fed = {feeder.source_bus}
    open_branches = list(feeder.lines + feeder.switches + feeder.transformers)
    for branch in open_branches:
        sender, receiver = feeder.bus(branch.from_bus), feeder.bus(branch.to_bus)
        phases = (
            feeder.config(branch.config).phases if isinstance(branch, Line) else receiver.phases
        )
        if set(receiver.phases) - set(phases) or set(phases) - set(sender.phases):
            raise ValueError(
                f"branch {branch.name!r} has phases {phases!r} from bus {sender.name!r} "
                f"({sender.phases!r}) to {receiver.name!r} ({receiver.phases!r}): a branch needs "
                "phases that its sending bus has, and must bring every phase of its receiving bus"
            )
        if isinstance(branch, Line) and not 0.0 < branch.length_km < 1000.0:
            raise ValueError(
                f"line {branch.name!r}: length_km = {branch.length_km} is not in (0, 1000)"
            )
        if not isinstance(branch, Transformer) and sender.v_ll_kv != receiver.v_ll_kv:
            raise ValueError(f"branch {branch.name!r} joins buses of different v_ll_kv")
    while open_branches:
        ready = [branch for branch in open_branches if branch.from_bus in fed]
        into = [branch.to_bus for branch in ready]
        if not ready or len(set(into)) < len(into) or fed & set(into):
            raise ValueError(
                f"feeder {feeder.name!r} is not a tree that leads away from {feeder.source_bus!r}: "
                f"look at {[b.name for b in (ready or open_branches)]}. Every bus needs exactly "
                "one branch that ends in it (from_bus towards the source, to_bus away from it)."
            )
        fed |= set(into)
        open_branches = [branch for branch in open_branches if branch not in ready]
    if fed != set(feeder._bus_of):
        raise ValueError(f"buses {sorted(set(feeder._bus_of) - fed)} are not fed by any branch")


def _check_elements(feeder: Feeder) -> None:
    for load in feeder.loads:
        absent = set(load.phases) - set(feeder.bus(load.bus).phases)
        if absent or len(load.phases) not in (1, 2) or len(set(load.phases)) != len(load.phases):
            raise ValueError(
                f"load {load.name!r} has phases {load.phases!r} at bus {load.bus!r}, which has "
                f"{feeder.bus(load.bus).phases!r}: give one of them, or a pair such as 'ab'"
            )
        if load.zip not in ("P", "I", "Z"):
            raise ValueError(f"load {load.name!r} has zip = {load.zip!r}: give 'P', 'I' or 'Z'")
    for capacitor in feeder.capacitors:
        if capacitor.phase not in tuple(feeder.bus(capacitor.bus).phases):
            raise ValueError(
                f"capacitor at {capacitor.bus!r}: phase {capacitor.phase!r} is absent there"
            )
