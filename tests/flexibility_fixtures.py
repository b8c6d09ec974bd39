"""Instances and plays of the flexibility game that several tests share."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from nashgrid.envs.core.copies import Copies
from nashgrid.envs.flexibility.diversity import Diversity, diversity
from nashgrid.envs.flexibility.players import FITTED_PRICE, FITTED_VOLUME_KWH, TABLE_1
from nashgrid.envs.flexibility.stage import Stage, play_stage, static_stage

ID = "flexibility-v0"
PAIRS = [[0, 0], [0, 0], [1, 1], [1, 1]]  # {1,2}{3,4} at both levels
GRAND = [[0, 0]] * 4
ALONE = [[i, i] for i in range(4)]
RICH = {
    "cap_dso": 0.012,
    "cap_tso": 0.02,
    "price_spikes": (0.3, 2.0),
    "switching_cost": 0.1,
    "volume_kwh": (0.848, 0.0, 0.6345, 15.13),
}


def flex4() -> Stage:
    """Table I as one static day: daily volumes and the fitted mean prices."""
    return static_stage(
        np.array([FITTED_VOLUME_KWH]), np.array(FITTED_PRICE).T[None], np.arange(4)[None]
    )


def six() -> Stage:
    """Six players of four types, types 1 and 2 twice."""
    return static_stage(
        np.array([[0.8, 0.9, 1.4, 1.3, 0.6, 15.0]]),
        np.array(
            [[[0.20, 0.22, 0.19, 0.21, 0.18, 0.265], [0.21, 0.19, 0.20, 0.18, 0.175, 0.262]]]
        ).transpose(0, 2, 1),
        np.array([[0, 0, 1, 1, 2, 3]]),
    )


def flex4h(seed: int) -> Stage:
    """24 hours of the four players of Table I, random profiles and prices."""
    rng = np.random.default_rng(seed)
    volume = np.empty((24, 4))
    for p, t in enumerate(TABLE_1):
        low, high = t.load_range_kw
        z = rng.random(24)
        below, above = 1e-3, 200.0
        for _ in range(80):  # the sum falls as the exponent rises
            g = np.sqrt(below * above)
            if (low + (high - low) * z**g).sum() > t.consumption_kwh:
                below = g
            else:
                above = g
        load = low + (high - low) * z**g
        volume[:, p] = t.flexible_share * load * (t.consumption_kwh / load.sum())
    low, high = (np.array([t.price_range[end] for t in TABLE_1])[:, None] for end in (0, 1))
    dso = rng.uniform(low, high, (4, 24))
    tso = rng.uniform(low, high, (4, 24))
    price = np.stack([dso.T, tso.T], axis=-1)
    stage = static_stage(volume, price, np.tile(np.arange(4), (24, 1)))
    profile = np.tile(volume, (24, 1, 1))
    return Stage(volume, price, stage.types, stage.cap_kwh, profile, stage.participation)


def flex360(seed: int) -> Stage:
    """360 players, 20 % around the profiles of Table I, as one static day."""
    rng = np.random.default_rng(seed)
    volume, dso, tso, types = [], [], [], []
    for number, (t, count) in enumerate(zip(TABLE_1, (100, 100, 100, 60), strict=True)):
        v0 = FITTED_VOLUME_KWH[number]
        for _ in range(count):
            volume.append(v0 * rng.uniform(0.8, 1.2))
            dso.append(rng.uniform(*t.price_range, 24).mean())
            tso.append(rng.uniform(*t.price_range, 24).mean())
            types.append(number)
    return static_stage(np.array([volume]), np.stack([dso, tso], axis=-1)[None], np.array([types]))


def start(game, copies, seed=0):
    scenario = game.draw(np.arange(seed, seed + copies, dtype=np.uint64))
    return scenario, game.initial(scenario)


def day_of(game, labels, split, seed=0, copies=1):
    """The same labels and splits in all hours: metrics and rewards of every hour."""
    batch = Copies(game, copies)
    batch.reset(seed)
    chosen = np.array([[*at, x] for at, x in zip(labels, split, strict=True)], dtype=np.float64)
    chosen[:, :2] += 1.0
    steps = []
    for _ in range(game.horizon):
        actions = game.action(batch.scenario, np.repeat(chosen[None], copies, axis=0))
        steps.append(batch.step(actions))
    return steps


def daily(steps, name):
    return sum(step.metrics[name][0] for step in steps)


GRID_5, GRID_21 = np.linspace(0.0, 1.0, 5), np.linspace(0.0, 1.0, 21)


def type_range(members):
    """A diversity of one's own: range of the members' types, damped by the coalition's size."""
    out = np.zeros((len(members.types), members.n_labels, 2))
    for c in range(members.n_labels):
        inside = members.labels == c
        types = members.types[..., None]
        high = np.where(inside, types, -1).max(axis=1)
        low = np.where(inside, types, 9).min(axis=1)
        size = inside.sum(axis=1)
        out[:, c] = np.where(size > 1, (high - low) / (3.0 * np.sqrt(np.maximum(size, 1))), 0.0)
    return out


CUSTOM = Diversity("type-range", type_range, 1.0)
DIVERSITIES = [diversity(d) for d in ("table", "stdr", "distinct", "price", "none")] + [CUSTOM]


def random_stage(seed, hours, n, capped=False, zeros=False):
    rng = np.random.default_rng(seed)
    volume = rng.uniform(0.1, 3.0, (hours, n))
    if zeros:
        volume *= rng.random((hours, n)) < 0.6
    stage = static_stage(
        volume, rng.uniform(0.12, 0.28, (hours, n, 2)), rng.integers(0, 4, (hours, n))
    )
    if capped:
        stage = replace(stage, cap_kwh=rng.uniform(0.0, 1.0, (hours, 2)) * 1.5 * n)
    return stage


def alone(rules, stage):
    """Utility alone at the better level, without a cap."""
    hours, n = stage.volume_kwh.shape
    stage = replace(stage, cap_kwh=np.full((hours, 2), np.inf))
    labels = np.broadcast_to(np.arange(n)[None, :, None], (hours, n, 2)).copy()
    return np.maximum(
        *(play_stage(rules, stage, labels, np.full((hours, n), x)).utility.sum(-1) for x in (0, 1))
    )


def hours_of(stage, chosen):
    return replace(stage, **{name: value[chosen] for name, value in vars(stage).items()})


def every_profile(n, k, splits):
    """All labels i64[R, n, 2] and splits f64[R, n]."""
    labels = np.array(list(product(range(k), repeat=2 * n))).reshape(-1, n, 2)
    split = np.array(list(product(splits, repeat=n)), dtype=float)
    return np.repeat(labels, len(split), axis=0), np.tile(split, (len(labels), 1))


SIX = tuple((t.name, count) for t, count in zip(TABLE_1, (2, 2, 1, 1), strict=True))


def days(game, count=3, first=0):
    return game.draw(np.arange(first, first + count, dtype=np.uint64))


def played(game, scenario, profile):
    """Sums over the day of welfare f64[B] and rewards f64[B, n], through the environment."""
    state, welfare, rewards = game.initial(scenario), 0.0, 0.0
    for t in range(game.horizon):
        step = game.step(scenario, state, game.action(scenario, profile[:, t]))
        welfare, rewards, state = (
            welfare + step.metrics["welfare"],
            rewards + step.rewards,
            step.state,
        )
    assert step.terminated.all()
    return welfare, rewards


def hour_by_deviation(game, scenario, state, actions):
    """Own rewards f64[B, n] as played and of the best action of one player, all others staying."""
    value = game.step(scenario, state, actions).rewards
    best = value.copy()
    for i, choice in product(range(game.n_agents), np.ndindex(*game.choices)):
        tried = actions.copy()
        tried[:, i] = choice
        best[:, i] = np.maximum(best[:, i], game.step(scenario, state, tried).rewards[:, i])
    return value, best
