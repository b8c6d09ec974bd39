"""From the market's arguments to the arrays that its kernels read: connections, feeders, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.errors import Problems
from nashgrid.envs.networks import Feeder, ieee13
from nashgrid.envs.networks.balanced_named import named_net
from nashgrid.envs.networks.frozen_net import FrozenNet, thawed
from nashgrid.envs.networks.low_voltage import file_version
from nashgrid.envs.physics import Connection, FeederModel, compile_feeder
from nashgrid.envs.physics.balanced_feeder import BalancedFeeder, compile_balanced

NETWORKS = ("flat", "taps", "paper_like")  # three-phase forms of the IEEE 13-node feeder
RULES = ("charge", "hard", "curtail")
BALANCED = (1 / 3, 1 / 3, 1 / 3)
LATERAL_CONFIG = "601"  # the conductor of the feeder's own three-phase laterals
Site = tuple[str, float, tuple[float, float, float]]  # bus, length of an own lateral in m, shares

DEFAULT_SITES: tuple[Site, ...] = (
    ("675", 0.0, BALANCED),
    ("mg2", 0.0, BALANCED),
    ("mg3", 0.0, BALANCED),
)


@dataclass(frozen=True, eq=False)
class Instance:
    """A market with its networks compiled.

    model       : the feeder with one connection per microgrid
    reference   : the feeder whose loss is the one to be reduced; nothing is injected there
    owner       : i64[M], the agent that each microgrid belongs to
    split       : f64[M], share of the agent's injection at this microgrid
    shares      : f64[N], sigma: the agents' shares in the priced loss reduction and in the charge
    limits      : f64[5]: lowest and highest voltage, pu; voltage charge, EUR/h per pu^2; overload
                  charge, EUR/h per (relative overload)^2; least loss reduction (-inf: none)
    rule        : what happens outside the limits, one of RULES
    engine      : who solves the power flow, see FeederModel.solve and BalancedFeeder.solve
    penalty     : payoff of every agent where the power flow fails, EUR/h (negative)
    refusal     : payoff of every agent where the operator refuses a play, EUR/h (negative)
    """

    model: FeederModel | BalancedFeeder
    reference: FeederModel | BalancedFeeder
    owner: NDArray[np.int64]
    split: FloatArray
    shares: FloatArray
    limits: FloatArray
    rule: str
    engine: str
    penalty: float
    refusal: float

    @property
    def is_swept(self) -> bool:
        """Whether the market's own kernels solve the power flow: the three-phase sweep."""
        return self.engine == "kernel" and isinstance(self.model, FeederModel)

    @property
    def second_engine(self) -> str:
        """An engine that shares no formula with the one that plays."""
        if isinstance(self.model, FeederModel):
            return "z-bus"
        return "kernel" if self.engine == "power-grid-model" else "power-grid-model"

    @cached_property
    def network(self) -> tuple[NDArray[Any], ...]:
        return network_arrays(self.model)

    @cached_property
    def taps_pu(self) -> FloatArray:
        assert isinstance(self.model, FeederModel)
        return np.array(self.model.feeder.taps_pu)

    @property
    def n_agents(self) -> int:
        return self.shares.shape[0]


def network_arrays(model: FeederModel | BalancedFeeder) -> tuple[NDArray[Any], ...]:
    """The constants of the sweep, in the order in which it takes them."""
    assert isinstance(model, FeederModel)
    a = model.arrays
    return (
        a.node_index,
        a.node_coef,
        a.port_index,
        a.feed_index,
        a.feed_coef,
        a.v_node,
        a.line_node,
        a.line_coef,
    )


def models(
    network: str | FrozenNet,
    sites: Sequence[Site] | None,
    buses: tuple[int, ...] | None,
    ampacity_606_a: float,
) -> tuple[FeederModel | BalancedFeeder, FeederModel | BalancedFeeder]:
    """The network with the microgrids, and the reference without their injection and their loads.

    A balanced network is its own reference: there the microgrids bring no loads of their own.
    """
    if buses is not None:
        model = balanced(network, buses)
        return model, model
    assert isinstance(network, str) and sites is not None
    feeder = ieee13(network, ampacity_606_a=ampacity_606_a)  # type: ignore[arg-type]
    bare = ieee13(network, ampacity_606_a=ampacity_606_a, microgrid_loads=False)  # type: ignore[arg-type]
    connections = []
    for m, (bus, length_m, phase_share) in enumerate(sites):
        if length_m > 0:
            end = f"site{m + 1}"
            feeder = feeder.with_lateral(end, bus, LATERAL_CONFIG, length_m)
            bare = bare.with_lateral(end, bus, LATERAL_CONFIG, length_m)
            bus = end
        connections.append(Connection(bus, phase_share))
    return compile_feeder(feeder, connections), compile_feeder(bare, ())


def balanced(network: str | FrozenNet, buses: tuple[int, ...]) -> BalancedFeeder:
    """A balanced network with microgrids at buses; ValueError where it cannot carry them."""
    if isinstance(network, FrozenNet):
        return _balanced(network, buses, None)
    return _balanced(network, buses, file_version(network))


@lru_cache(maxsize=32)
def _balanced(
    network: str | FrozenNet, buses: tuple[int, ...], version: tuple[int, int] | None
) -> BalancedFeeder:
    """version: tells what a file holds now from what it held before"""
    net = thawed(network) if isinstance(network, FrozenNet) else named_net(network)
    feeder = compile_balanced(net, buses)
    yff, yft, ytf, ytt = y_pu = feeder.model.y_pu
    heat = np.abs([yff.real, ytt.real, yft + ytf.conj()]).max(initial=0.0)  # per branch and voltage
    if heat <= 1e-12 * np.abs(y_pu).max(initial=0.0):
        raise ValueError(
            f"the net {net.name!r} has no resistance in any line or transformer (r_ohm_per_km, "
            "vkr_percent), so there is no loss that injections could reduce"
        )
    return feeder


def checked_sites(found: Problems, network: object, value: Any) -> tuple[Site, ...] | None:
    """Sites from the user's list; None if something is wrong, which is then in ``found``."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        found.add(
            f"connections = {value!r} is not a list of sites; a site is a bus, or (bus, length_m), "
            "or (bus, length_m, (share_a, share_b, share_c))"
        )
        return None
    before = len(found.found)
    feeder: Feeder | None = ieee13(network) if network in NETWORKS else None  # type: ignore[arg-type]
    sites = [_checked_site(found, f"connections[{m}]", feeder, v) for m, v in enumerate(value)]
    return tuple(s for s in sites if s) if len(found.found) == before else None


def _checked_site(found: Problems, name: str, feeder: Feeder | None, value: Any) -> Site | None:
    entry: Any = (value,) if isinstance(value, str) else value
    if not isinstance(entry, Sequence) or not 1 <= len(entry) <= 3 or not isinstance(entry[0], str):
        found.add(
            f"{name} = {value!r} is not a site: give a bus, or (bus, length_m), or "
            "(bus, length_m, (share_a, share_b, share_c))"
        )
        return None
    given: list[Any] = list(entry)
    bus, length_m, share = given + [0.0, BALANCED][len(given) - 1 :]
    good = found.number(f"{name} length_m", length_m, 0.0, 20_000.0)
    good &= found.numbers(f"{name} phase share", share, 3, low=0.0, high=1.0)
    if not good or feeder is None:
        return None
    site = (bus, float(length_m), tuple(float(s) for s in share))
    try:
        at = feeder.bus(bus)
        if length_m > 0 and at.phases != "abc":
            raise ValueError(
                f"a lateral of {LATERAL_CONFIG} needs three phases; bus {bus!r} has {at.phases!r}"
            )
        Connection(bus, site[2]).check(feeder)  # type: ignore[arg-type]
    except ValueError as error:
        found.add(f"{name}: {error}")
        return None
    return site  # type: ignore[return-value]
