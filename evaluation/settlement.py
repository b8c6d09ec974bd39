"""Energy and money of the market as the operator settles them, exact to the cent.

With price, loss price, shares sigma and the charge of the market's equations (1) to (5):

| | microgrid g | DSO | consumers | upstream grid |
|---|---|---|---|---|
| energy | price x_g | the rest | - price consumed | price import |
| loss | sigma_g loss_price saved | the rest | 0 | 0 |
| charge | - sigma_g charge | the rest | 0 | 0 |

A microgrid receives payoff + own cost. Since import + sold = consumed + loss, the operator's part
of the energy is - price loss: it buys what the network loses. The game has no network tariff, so
the operator's total is what a tariff would have to bring in, or could give back.

Consumed and imported power come from a second power-flow engine, at the injections that the step
accepted, and the loss from the step itself: that they balance is a check and no identity.
"""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import BoolArray, FloatArray, SeedArray, take
from nashgrid.envs.market.dynamics import Conditions, Injections, Market
from nashgrid.envs.market.instance import Instance
from nashgrid.envs.market.payoffs import Outcome, outcomes
from nashgrid.envs.networks.feeder import PHASES
from nashgrid.envs.physics import FeederModel
from nashgrid.envs.physics.balanced_feeder import BalancedFeeder

ITEMS = ("energy", "loss", "charge")
OTHERS = ("dso", "consumers", "upstream")
BALANCE_MW = 1e-5  # of a step: what two engines may differ by
SECOND_PU = 1e-9  # tolerance of the second engine
COLUMNS = ("copy", "seed", "party", "sold_mwh", "bought_mwh", "energy_eur", "loss_eur",
           "charge_eur", "total_eur", "status")  # fmt: skip
SETTLED = "settled"
FAILED = "failed: the power flow did not converge"
REFUSED = "refused: the play is outside a limit, nobody injects"
UNCHECKED = "not settled: the second power-flow engine did not converge, nothing to balance against"


@dataclass(frozen=True, eq=False)
class Settlement:
    """B copies, P parties: the agents in their order, then "dso", "consumers", "upstream".

    sold_mwh, bought_mwh : f64[B, P], >= 0; what the operator buys is the loss
    cents         : i64[B, 3, P], what each party receives, by ``ITEMS``; each item sums to zero
                    over the parties. All but the operator are rounded to the nearest cent, the
                    operator has the remainder
    imbalance_mwh : f64[B], import + sold - consumed - loss, of two engines
    status        : per copy: "settled", or why all its numbers are zero
    """

    parties: tuple[str, ...]
    seed: SeedArray
    hours: float
    sold_mwh: FloatArray
    bought_mwh: FloatArray
    cents: NDArray[np.int64]
    imbalance_mwh: FloatArray
    status: tuple[str, ...]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per copy and party, keys ``COLUMNS``; money as Decimal, exact."""
        for b, status in enumerate(self.status):
            for p, party in enumerate(self.parties):
                money = [int(c) for c in self.cents[b, :, p]]
                money.append(sum(money))
                yield {
                    "copy": b,
                    "seed": int(self.seed[b]),
                    "party": party,
                    "sold_mwh": float(self.sold_mwh[b, p]),
                    "bought_mwh": float(self.bought_mwh[b, p]),
                    **{
                        f"{name}_eur": Decimal(c).scaleb(-2)
                        for name, c in zip((*ITEMS, "total"), money, strict=True)
                    },
                    "status": status,
                }

    def to_csv(self, path: str | pathlib.Path) -> None:
        """Write the rows; energy to the Wh, money to the cent."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            out = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            out.writeheader()
            for row in self.rows():
                energy = {k: f"{row[k]:.6f}" for k in ("sold_mwh", "bought_mwh")}
                out.writerow({**row, **energy})


def settlement(
    game: Market, scenario: Conditions, play: Injections | FloatArray, hours: float = 1.0
) -> Settlement:
    """Settle a step of every copy.

    play  : actions f64[B, N, 1], or a state after the step; a state holds what was accepted, so it
            cannot tell a refused step from one in which nobody asked for anything
    hours : length of the step, > 0

    Raises ValueError on actions of another shape, and on ``physics="pandapower"`` on the
    three-phase feeder, whose flows no second engine has; RuntimeError where both engines differ by
    more than ``BALANCE_MW``.
    """
    i, n, copies = game.instance, len(game.agents), len(scenario.seed)
    if not (np.isfinite(hours) and hours > 0.0):
        raise ValueError(f"hours = {hours!r}: give the length of the step, > 0")
    if i.engine == "pandapower" and isinstance(i.model, FeederModel):
        raise ValueError(
            'physics = "pandapower" averages the phases of the feeder, which no second engine does:'
            ' settle with physics = "kernel"'
        )
    if isinstance(play, Injections):
        asked = play.x_mw
    elif np.shape(play) == (copies, n, 1):
        asked = game.quantity(scenario, play)[..., 0]
    else:
        raise ValueError(
            f"play has shape {np.shape(play)}: give actions f64[{copies}, {n}, 1], such as "
            "game.action(scenario, injections), or the state after the step"
        )
    outcome = outcomes(i, scenario, asked)
    x_mw, consumed, imported, status = _taken_place(i, scenario, asked, outcome)
    good = status == SETTLED
    loss_mw = np.where(good, 1e-3 * outcome["loss_kw"], 0.0)
    left = imported + x_mw.sum(axis=1) - consumed - loss_mw
    if (np.abs(left) > BALANCE_MW).any():
        worst = int(np.abs(left).argmax())
        raise RuntimeError(
            f"copy {worst} does not balance: import + sold - consumed - loss = {left[worst]:.2e} "
            f"MW, at most {BALANCE_MW:g} is the error of two power-flow engines"
        )
    price = np.where(good, scenario.price_eur_per_mwh, 0.0)
    saved = np.where(good, scenario.loss0_mw - loss_mw, 0.0)
    charge = np.where(good, outcome["charge_eur_per_h"], 0.0)
    zero = np.zeros((copies, 2))
    items = [
        np.column_stack([price[:, None] * x_mw, -price * consumed, price * imported]),
        np.column_stack([i.shares * (scenario.loss_price_eur_per_mwh * saved)[:, None], zero]),
        np.column_stack([-i.shares * charge[:, None], zero]),
    ]
    sold = np.column_stack([x_mw, zero, np.maximum(imported, 0.0)])
    bought = np.column_stack([0.0 * x_mw, loss_mw, consumed, np.maximum(-imported, 0.0)])
    cents = np.rint(100.0 * hours * np.stack(items, axis=1)).astype(np.int64)
    cents = np.insert(cents, n, -cents.sum(axis=2), axis=2)
    return Settlement(
        parties=(*game.agents, *OTHERS),
        seed=scenario.seed.copy(),
        hours=float(hours),
        sold_mwh=hours * sold,
        bought_mwh=hours * bought,
        cents=cents,
        imbalance_mwh=hours * left,
        status=tuple(status.tolist()),
    )


def _taken_place(
    i: Instance, scenario: Conditions, asked_mw: FloatArray, outcome: Outcome
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.str_]]:
    """Accepted injections f64[B, N], consumed and imported power f64[B], MW, and the status of
    every copy; zero where nothing is settled."""
    x_mw = outcome["accepted"][:, None] * asked_mw
    nothing = (i.rule == "hard") & (outcome["accepted"] == 0.0)
    status = np.where(outcome.solved, np.where(nothing, REFUSED, SETTLED), FAILED)
    consumed, imported = np.zeros(len(x_mw)), np.zeros(len(x_mw))
    rows = np.flatnonzero(status == SETTLED)
    if rows.size:
        consumed[rows], imported[rows], checked = _measured(i, take(scenario, rows), x_mw[rows])
        status = status.astype(object)
        status[rows[~checked]] = UNCHECKED
    no = status != SETTLED
    x_mw[no], consumed[no], imported[no] = 0.0, 0.0, 0.0
    return x_mw, consumed, imported, status


def _measured(
    i: Instance, scenario: Conditions, x_mw: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Consumed and imported power f64[B], MW, by an engine that did not play the step, and where
    that engine converged, bool[B]."""
    p_mw = i.split * x_mw[:, i.owner]
    if isinstance(i.model, FeederModel):
        return _of_three_phases(i.model, p_mw, scenario)
    engine = "kernel" if i.engine == i.second_engine else i.second_engine
    return _of_balanced(i.model, engine, p_mw, scenario)


def _of_three_phases(
    model: FeederModel, p_mw: FloatArray, scenario: Conditions
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """From the complex voltages of the Z-bus method: what loads of constant power, current and
    impedance draw there, and the power that leaves the source."""
    from nashgrid.envs.physics import z_bus

    feeder = model.feeder
    where = [(c.bus, c.phase_share) for c in model.connections]
    factor = scenario.load_factor[:, None]
    source = scenario.source_v_pu[:, None] * model.taps_pu
    v, _, mismatch, _ = z_bus.solve(feeder, where, p_mw, factor, source, SECOND_PU)
    net = z_bus.network(feeder)
    consumed = np.zeros(len(p_mw))
    into = v * np.conj((net.y @ v[..., None])[..., 0])  # power from each row into the network, VA
    at_source = np.isin(np.arange(v.shape[1]), net.source)
    imported_w = into[:, at_source].real.sum(axis=1)
    for load in feeder.loads:
        rows = [net.nodes[load.bus, phase] for phase in load.phases]
        port = v[:, rows[0]] - (v[:, rows[1]] if len(rows) == 2 else 0.0)
        nominal = net.v_nominal[rows[0]] * (np.sqrt(3.0) if len(rows) == 2 else 1.0)
        ratio = np.abs(port) / nominal
        drawn_kva = factor[:, 0] * complex(load.p_kw, load.q_kvar)
        drawn_kva = drawn_kva * ratio ** {"P": 0, "I": 1, "Z": 2}[load.zip]
        consumed += 1e-3 * drawn_kva.real
        current = drawn_kva / port  # conjugate of the current; each end draws V times it
        for row, sign in zip(rows, (1.0, -1.0), strict=False):
            if at_source[row]:
                imported_w += 1e3 * (sign * v[:, row] * current).real
    for m, (bus, share) in enumerate(where):
        for phase in PHASES:
            if (bus, phase) in net.nodes and at_source[net.nodes[bus, phase]]:
                imported_w -= 1e6 * share[PHASES.index(phase)] * p_mw[:, m]
    return consumed, 1e-6 * imported_w, mismatch < SECOND_PU


def _of_balanced(
    model: BalancedFeeder, engine: str, p_mw: FloatArray, scenario: Conditions
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Loads at their powers, with what sgens, wards and shunts of the net draw; import is what the
    second engine's loss leaves for the sources."""
    flow = model.solve(
        p_mw,
        scenario.load_factor,
        scenario.source_v_pu,
        tolerance_pu=SECOND_PU,
        engine=engine,  # type: ignore[arg-type]
    )
    base = model.model
    consumed = scenario.load_factor * base.load_p_mw.sum() + base.sn_mva * base.fixed_pu.real.sum()
    nodes, bus = np.unique(base.node_of_bus, return_index=True)
    shunts = base.y_shunt_pu.real[nodes] * flow.v_pu[:, bus] ** 2
    consumed = consumed + base.sn_mva * shunts.sum(axis=1)
    return consumed, consumed + flow.loss_mw - p_mw.sum(axis=1), flow.converged
