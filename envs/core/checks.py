"""Checks of a game's promises: shapes, batch independence, equal bits, fresh arrays.

Each function takes a game and raises AssertionError with what broke. ``check_game`` in
``nashgrid.testing`` runs them all, with the conformance suites of the views and the replayed
reference.
"""

from __future__ import annotations

import copy
import pickle
import sys
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import Game, Step, take
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.random import stream, uniform

PLAY = stream("checks.play")


def random_actions(game: Game, copies: int, key: int) -> NDArray[Any]:
    """Actions of B copies for check number ``key``: row b depends on (key, b) only."""
    shape = (copies, game.n_agents, game.action_size)
    seeds = np.uint64(key << 20) + np.arange(copies, dtype=np.uint64)
    draws = uniform(seeds, PLAY, game.n_agents * game.action_size).reshape(shape)
    if game.is_continuous:
        return 2.0 * draws - 1.0
    options = np.array(game.choices)
    return np.minimum((draws * options).astype(np.int64), options - 1)


def flatten(value: Any, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Every array in a nested structure of dataclasses, dicts and tuples, by its path."""
    if isinstance(value, np.ndarray):
        return {prefix: value}
    if is_dataclass(value) and not isinstance(value, type):
        parts: dict[str, Any] = {f.name: getattr(value, f.name) for f in fields(value)}
    elif isinstance(value, dict):
        parts = value
    elif isinstance(value, (tuple, list)):
        parts = {str(i): v for i, v in enumerate(value)}
    else:
        return {prefix: np.asarray(value)}
    out: dict[str, NDArray[Any]] = {}
    for name, part in parts.items():
        out |= flatten(part, f"{prefix}.{name}" if prefix else str(name))
    return out


def same_bits(left: Any, right: Any, what: str) -> None:
    a, b = flatten(left), flatten(right)
    assert a.keys() == b.keys(), f"{what}: {sorted(a)} against {sorted(b)}"
    for name in a:
        assert a[name].shape == b[name].shape, f"{what}: shape of {name}"
        assert a[name].tobytes() == b[name].tobytes(), f"{what}: {name} differs"


def check_shapes(game: Game, copies: int = 5) -> None:
    """Types, shapes and ranges of everything that a game returns, to the end of an episode."""
    n, scenario = game.n_agents, game.draw(np.arange(copies, dtype=np.uint64))
    assert len(set(game.agents)) == n, "agents have different names"
    for agent in game.agents:
        role, _, number = agent.rpartition("_")
        assert role and number.isdigit(), f"agent {agent!r} is not named <role>_<number>"
    assert n >= 1 and game.horizon >= 1 and game.n_features >= 2
    assert game.turns.shape == (game.horizon, n) and game.turns.dtype == bool
    assert game.action_size > 0, "an action has at least one number"
    if not game.is_continuous:
        assert len(game.choices) == game.action_size, "choices has the options of each number"
        assert min(game.choices) > 0, "every number has at least one option"
    for feature in game.features:
        assert np.isfinite([feature.low, feature.high]).all(), f"range of {feature.name}"
        assert feature.low < feature.high, f"range of {feature.name}"
    names = [metric.name for metric in game.metrics]
    assert len(set(names)) == len(names), "metrics have different names"
    shared = {metric.name for metric in game.metrics if not metric.per_agent}
    assert game.welfare_metric in shared, "welfare_metric names a shared metric"
    assert scenario.seed.dtype == np.uint64
    state = game.initial(scenario)
    assert state.t.tolist() == [0] * copies, "t counts rounds from 0"
    for key in range(game.horizon):
        _check_observation(game, scenario, state, copies)
        if game.is_continuous:
            low, high = game.action_limits(scenario, state)
            assert low.shape == high.shape == (copies, n, game.action_size)
            assert (low <= high).all() and (low >= -1).all() and (high <= 1).all()
        else:
            mask = game.action_mask(scenario, state)
            assert mask.shape == (copies, n, sum(game.choices)) and mask.dtype == bool
            legal = np.logical_or.reduceat(mask, game.option_starts[:-1], axis=2)
            assert legal.all(), "every number has a legal choice"
        step = game.step(scenario, state, random_actions(game, copies, key))
        assert step.rewards.shape == (copies, n) and step.rewards.dtype == np.float64
        assert np.isfinite(step.rewards).all(), "rewards are finite"
        assert step.terminated.shape == (copies,) and step.terminated.dtype == bool
        assert list(step.metrics) == names, "metrics come as declared, in order"
        for metric in game.metrics:
            value = step.metrics[metric.name]
            shape = (copies, n) if metric.per_agent else (copies,)
            assert value.shape == shape and value.dtype == np.float64, metric.name
            assert np.isfinite(value).all(), f"{metric.name} is finite"
        assert (step.state.t == state.t + 1).all(), "t counts rounds"
        state = step.state
    assert step.terminated.all(), "the last round terminates the episode"
    _check_observation(game, scenario, state, copies)
    assert not game.acting(state).any(), "nobody moves after the last round"


def _check_observation(game: Game, scenario: Any, state: Any, copies: int) -> None:
    seen = game.observe(scenario, state)
    assert seen.shape == (copies, game.n_agents, game.n_features), "shape of the observation"
    assert seen.dtype == np.float32 and np.isfinite(seen).all()
    assert (np.abs(seen) <= 1.0).all(), "observations are in [-1, 1]"
    whole = game.global_state(scenario, state)
    size = game.n_agents * game.n_features + len(game.state_features)
    assert whole.shape == (copies, size) and whole.dtype == np.float32
    assert np.isfinite(whole).all() and (np.abs(whole) <= 1.0).all()


def play(game: Game, copies: int, seed: int, rounds: int) -> list[Any]:
    """Transcript of ``rounds`` rounds of random play with automatic restarts."""
    batch = Copies(game, copies)
    batch.reset(seed)
    out: list[Any] = []
    for key in range(rounds):
        before = batch.observe()
        step = batch.step(random_actions(game, copies, key))
        after = batch.observe()
        batch.restart(step.terminated)
        out.append((before, step.rewards, step.terminated, dict(step.metrics), after))
    return out


def check_batch_independence(game: Game, copies: int = 7, rounds: int | None = None) -> None:
    """B copies play exactly as B single copies do, across partial restarts."""
    rounds = rounds or 3 * game.horizon + 2
    together = play(game, copies, seed=11, rounds=rounds)
    for c in range(copies):
        single = Copies(game, 1)
        single.reset(11 + c)
        for key in range(rounds):
            before, rewards, terminated, metrics, after = together[key]
            what = f"copy {c} of {copies}, round {key}"
            same_bits(single.observe(), before[c : c + 1], what)
            actions = random_actions(game, copies, key)[c : c + 1]
            step = single.step(actions)
            same_bits(step.rewards, rewards[c : c + 1], f"{what}: rewards")
            same_bits(step.terminated, terminated[c : c + 1], f"{what}: end")
            ours = {name: values[c : c + 1] for name, values in metrics.items()}
            same_bits(dict(step.metrics), ours, f"{what}: metrics")
            same_bits(single.observe(), after[c : c + 1], f"{what}: next observation")
            single.restart(step.terminated)


def check_equal_bits(game: Game) -> None:
    """Equal seeds give equal bits: again, after pickling, after deepcopy, over several episodes."""
    rounds = 3 * game.horizon
    first = play(game, 3, seed=5, rounds=rounds)
    same_bits(first, play(game, 3, seed=5, rounds=rounds), "the same seed again")
    same_bits(first, play(pickle.loads(pickle.dumps(game)), 3, 5, rounds), "after pickling")
    same_bits(first, play(copy.deepcopy(game), 3, 5, rounds), "after deepcopy")
    batch = Copies(game, 3)
    batch.reset(5)
    batch.step(random_actions(game, 3, 0))
    twin = pickle.loads(pickle.dumps(batch))
    moved = Copies(game, 3)
    moved.load_arrays(batch.arrays())
    if not batch.game.acting(batch.state).any(axis=1).all():
        for other in (batch, twin, moved):
            other.reset()
    for other in (twin, moved):
        ours = copy.deepcopy(batch).step(random_actions(game, 3, 1))
        same_bits(ours, other.step(random_actions(game, 3, 1)), "continued elsewhere")


def check_rows_by_own_seed(game: Game) -> None:
    """The scenario carries its seeds, and each row is a function of its own seed alone."""
    seeds = np.arange(20, 28, dtype=np.uint64)
    drawn = game.draw(seeds)
    assert (drawn.seed == seeds).all(), "the scenario carries its seed"
    same_bits(take(drawn, np.array([6, 2])), game.draw(seeds[[6, 2]]), "rows by their own seed")


def check_idle_actions_are_ignored(game: Game, copies: int = 4) -> None:
    """What a seat hands in while it is not its turn changes nothing."""
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    state = game.initial(scenario)
    for key in range(game.horizon):
        actions, other = (random_actions(game, copies, k) for k in (key, key + 1000))
        acting = game.acting(state)[..., None]
        step = game.step(scenario, state, actions)
        same_bits(step, game.step(scenario, state, np.where(acting, actions, other)), "idle seats")
        state = step.state


def check_quantities(game: Game, copies: int = 4) -> None:
    """``action`` undoes ``quantity``, in games whose actions have a unit.

    The actions come back as far as they differ in what they play: many actions of a box can be one
    choice.
    """
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    actions = random_actions(game, copies, 7)
    try:
        quantity = game.quantity(scenario, actions)
    except TypeError:  # choices without a unit
        return
    assert quantity.shape == (copies, game.n_agents, game.action_size), "quantity"
    assert quantity.dtype == np.float64, "quantity"
    again = game.quantity(scenario, game.action(scenario, quantity))
    what = "action undoes quantity"
    np.testing.assert_allclose(again, quantity, rtol=1e-9, atol=1e-9, err_msg=what)


def check_fresh_arrays(game: Game, copies: int = 4) -> None:
    """Inputs are never written; what was handed out never changes afterwards."""
    batch = Copies(game, copies)
    batch.reset(3)
    kept: list[tuple[str, NDArray[Any], bytes]] = []

    def keep(what: str, value: Any) -> None:
        for name, array in flatten(value).items():
            kept.append((f"{what}.{name}", array, array.tobytes()))

    for key in range(2 * game.horizon + 1):
        scenario, state = batch.scenario, batch.state
        keep(f"round {key}: scenario", scenario)
        keep(f"round {key}: state", state)
        observation = batch.observe()
        keep(f"round {key}: observation", observation)
        actions = random_actions(game, copies, key)
        for array in (*flatten(scenario).values(), *flatten(state).values(), actions):
            array.flags.writeable = False
        step: Step = batch.step(actions)
        keep(f"round {key}: step", (step.rewards, step.terminated, dict(step.metrics)))
        owners = flatten((step.rewards, dict(step.metrics), observation))
        for name, array in owners.items():
            for other, inner in flatten((scenario, state, step.state)).items():
                assert not np.shares_memory(array, inner), f"{name} shares memory with {other}"
        partial = step.terminated.copy()
        partial[0] = True
        batch.restart(partial)
    for what, array, bits in kept:
        assert array.tobytes() == bits, f"{what} was written after it was handed out"


def check_no_python_loop(game: Game) -> None:
    """A step of many copies runs as many lines of Python as one of two, and none of pandas."""
    few, many = _python_lines(game, 2), _python_lines(game, 64)
    assert few == many, f"a step runs {few} lines of Python for 2 copies and {many} for 64"


def _python_lines(game: Game, copies: int) -> int:
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    state = game.initial(scenario)
    actions = random_actions(game, copies, 0) * 0
    game.step(scenario, state, actions)  # compile, fill caches
    game.observe(scenario, state)
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        module = frame.f_globals.get("__name__", "")
        assert not module.startswith("pandas"), "pandas runs in a step"
        # a sparse matrix tells a compiled solver its shape in lines of Python
        count += event == "line" and not module.startswith("scipy.sparse")
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        game.step(scenario, state, actions)
        game.observe(scenario, state)
    finally:
        sys.settrace(previous)
    return count


ALL = (
    check_shapes,
    check_batch_independence,
    check_equal_bits,
    check_rows_by_own_seed,
    check_idle_actions_are_ignored,
    check_quantities,
    check_fresh_arrays,
    check_no_python_loop,
)
