"""The best partition that local search finds, for any number of agents.

Steps: one agent goes to a group with which it shares a line, or alone; two groups that share a
line merge; a group splits along a line, every member going with the nearer end. Improving steps of
different groups are made together where that is no worse than the best one. The search goes on from
the best partition with a few agents moved at random, ``KICKS`` times.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.moves import (
    Labels,
    alone,
    components,
    linked,
    moves,
    slots,
    welfare,
)
from nashgrid.envs.coalition.stage import Rules, Stage, play_stage
from nashgrid.envs.core.contract import BoolArray, FloatArray, SeedArray, take
from nashgrid.envs.core.random import hashed, stream, uniform

KICK = stream("coalition.search.kick")
KICKS = 24
FEW = 40  # agents; with more each step costs too much for many kicks
KICKS_OF_MANY = 2
KICKED = 3  # one agent in so many is moved at random
AT_ONCE = 8  # kicks followed together
TOLERANCE = 1e-10  # relative, what counts as better
ESTIMATED = 256  # steps at once


def best_partition(
    rules: Rules, stage: Stage, seeds: SeedArray, starts: Labels, kicks: int | None = None
) -> tuple[Labels, FloatArray]:
    """The best partition found, i64[B, n] slots, and its welfare f64[B], of every scenario.

    seeds  : u64[B] of the random kicks
    starts : i64[K, B, n], partitions to begin with beside all alone and, where agents are few, the
             connected components
    kicks  : their number; None: ``KICKS``, fewer where agents are many
    """
    copies, n = stage.q_pu.shape
    near = linked(stage)
    kicks = (KICKS if n <= FEW else KICKS_OF_MANY) if kicks is None else kicks
    whole = [components(stage)] if n <= FEW else []  # large groups take long
    first = np.stack([alone(copies, n), *whole, *starts])
    rows = np.tile(np.arange(copies), len(first))
    found, value = climb(rules, stage, near, rows, first.reshape(-1, n))
    best, level = _keep(found.reshape(-1, copies, n), value.reshape(-1, copies))
    for done in range(0, kicks, AT_ONCE):
        number = np.arange(done, min(done + AT_ONCE, kicks), dtype=np.uint64)
        rows = np.tile(np.arange(copies), len(number))
        own = hashed(np.tile(seeds, len(number)), KICK, np.repeat(number, copies))
        kicked = _kicked(near[rows], best[rows], own)
        found, value = climb(rules, stage, near, rows, kicked)
        best, level = _keep(
            np.concatenate([best[None], found.reshape(-1, copies, n)]),
            np.concatenate([level[None], value.reshape(-1, copies)]),
        )
    return slots(best), level


def climb(
    rules: Rules, stage: Stage, near: BoolArray, rows: NDArray[np.int64], labels: Labels
) -> tuple[Labels, FloatArray]:
    """From partitions i64[R, n] upwards until no step is better; slots and welfare f64[R].

    near : bool[B, n, n], see ``moves.linked``

    Every step is played before it is made. Of more than ``FEW`` agents only the best ones are:
    which these are is estimated.
    """
    labels = slots(labels)
    level = welfare(rules, stage, rows, labels)
    active, wide = np.arange(len(rows)), np.zeros(len(rows), dtype=np.bool_)
    while active.size:
        here, own = labels[active], rows[active]
        at, after = _steps(near[own], here, wide[active])
        if labels.shape[1] <= FEW:
            gain = welfare(rules, stage, own[at], after) - level[active][at]
        else:
            gain = _estimated(rules, stage, own, here, at, after)
        order = np.lexsort((np.arange(len(at)), -gain, at))  # best first within each partition
        leads = order[np.unique(at[order], return_index=True)[1]]
        leads = leads[gain[leads] > 0.0]
        chosen = after[leads]
        reached = welfare(rules, stage, own[at[leads]], chosen)
        together = _together(here, at, after, gain, at[leads], order)
        joint = welfare(rules, stage, own[at[leads]], together)
        no_worse = joint >= reached
        chosen[no_worse], reached[no_worse] = together[no_worse], joint[no_worse]
        before = level[active[at[leads]]]
        better = reached - before > TOLERANCE * np.maximum(np.abs(before), 1.0)
        moved = active[at[leads[better]]]
        labels[moved], level[moved] = slots(chosen[better]), reached[better]
        # who is stuck with single moves tries merging and splitting, then stops
        stuck = np.setdiff1d(active, moved)
        done = stuck[wide[stuck]]
        wide[stuck], wide[moved] = True, False
        active = np.setdiff1d(active, done)
    return labels, level


def _estimated(
    rules: Rules,
    stage: Stage,
    rows: NDArray[np.int64],
    labels: Labels,
    at: NDArray[np.int64],
    after: Labels,
) -> FloatArray:
    """f64[M]: gain of steps if the groups that they do not concern go on as they did.

    Of partitions i64[R, n] of scenarios ``rows``. All others then inject what they injected, as if
    they had it and were alone: a small program instead of a large one.
    """
    plain = replace(rules, sharing="equal")
    p = play_stage(plain, stage, rows, labels).p_pu
    n = labels.shape[1]
    gain = np.empty(len(at))
    for start in range(0, len(at), ESTIMATED):
        part = slice(start, start + ESTIMATED)
        old, new = labels[at[part]], after[part]
        many, each = len(old), np.arange(len(old))
        hit = np.zeros((many, n), dtype=np.bool_)  # slots that the step concerns
        row, agent = np.nonzero(old != new)
        hit[row, old[row, agent]] = hit[row, new[row, agent]] = True
        inside = hit[each[:, None], old] | hit[each[:, None], new]
        here = take(stage, rows[at[part]])
        here = replace(
            here,
            q_pu=np.where(inside, here.q_pu, p[at[part]]),
            generator_max_pu=np.where(inside, here.generator_max_pu, 0.0),
        )
        value = [
            welfare(plain, here, each, slots(np.where(inside, who, n + np.arange(n))))
            for who in (old, new)
        ]
        gain[part] = value[1] - value[0]
    return gain


def _steps(near: BoolArray, labels: Labels, wide: BoolArray) -> tuple[NDArray[np.int64], Labels]:
    """Partition of departure i64[M] and labels after the step i64[M, n], of R partitions."""
    many, n = labels.shape
    reach = np.zeros((many, n, n), dtype=np.bool_)  # agent, slot: shares a line with the group
    row, agent, other = np.nonzero(near)
    reach[row, agent, labels[row, other]] = True
    single = moves(labels, reach)
    use = ~wide[single.at]
    at, after = [single.at[use]], [single.labels[use]]
    if wide.any():
        row, agent, slot = np.nonzero(reach & wide[:, None, None])
        apart = labels[row, agent] < slot  # each pair of groups once
        key = np.unique(np.stack([row, labels[row, agent], slot], axis=1)[apart], axis=0)
        merged = labels[key[:, 0]]
        merged = np.where(merged == key[:, 2:], key[:, 1:2], merged)
        at.append(key[:, 0])
        after.append(merged)
        from_row, split = _splits(near, labels, wide)
        at.append(from_row)
        after.append(split)
    return np.concatenate(at), np.concatenate(after)


def _splits(near: BoolArray, labels: Labels, wide: BoolArray) -> tuple[NDArray[np.int64], Labels]:
    """Every group cut at every line: those nearer to its first end leave for an empty slot."""
    n = labels.shape[1]
    inside = near & (labels[:, :, None] == labels[:, None, :])
    row, first, second = np.nonzero(np.triu(inside) & wide[:, None, None])
    distance = np.full(inside.shape, n, dtype=np.int64)
    distance[:, np.arange(n), np.arange(n)] = 0
    reached = np.broadcast_to(np.eye(n, dtype=np.bool_), inside.shape)
    for step in range(1, n):
        grown = reached | (np.matmul(reached.astype(np.float32), inside.astype(np.float32)) > 0)
        new = grown & ~reached
        if not new.any():
            break
        distance[new] = step
        reached = grown
    leaves = distance[row, first] < distance[row, second]
    split = labels[row]
    same = split == split[np.arange(len(row)), first][:, None]
    free = (split[:, :, None] != np.arange(n)).all(axis=1).argmax(axis=1)
    return row, np.where(leaves & same, free[:, None], split)


def _together(
    labels: Labels,
    at: NDArray[np.int64],
    after: Labels,
    gain: FloatArray,
    which: NDArray[np.int64],
    order: NDArray[np.int64],
) -> Labels:
    """Improving steps of each partition in ``which``, the best first, as long as groups differ."""
    out = labels[which]
    place = np.full(len(labels), -1)
    place[which] = np.arange(len(which))
    touched = np.zeros(out.shape, dtype=np.bool_)
    free = (out[:, :, None] != np.arange(out.shape[1])).all(axis=1)
    for k in order[gain[order] > 0.0]:
        p, before = place[at[k]], labels[at[k]]
        if p < 0:
            continue
        who = np.flatnonzero(after[k] != before)
        target = after[k, who[0]]
        opens = not (before == target).any()
        groups = before[who] if opens else np.append(before[who], target)
        if touched[p, groups].any() or (opens and not free[p].any()):
            continue
        if opens:  # an empty slot of its own
            target = int(free[p].argmax())
            free[p, target] = False
        touched[p, groups] = True
        out[p, who] = target
    return out


def _kicked(near: BoolArray, labels: Labels, seeds: SeedArray) -> Labels:
    """A few agents of each partition moved to the group of a random neighbour, or alone."""
    many, n = labels.shape
    u = uniform(seeds, KICK, 3 * n).reshape(many, n, 3)
    rank = np.argsort(u[..., 0], axis=1)
    out = labels.copy()
    row = np.arange(many)
    for k in range(max(n // KICKED, 1)):
        agent = rank[:, k]
        friends = near[row, agent]
        count = friends.sum(axis=1)
        pick = np.floor(u[row, agent, 1] * count).astype(np.int64)
        friend = (np.cumsum(friends, axis=1) > pick[:, None]).argmax(axis=1)
        free = (out[:, :, None] != np.arange(n)).all(axis=1)
        to_alone = (count == 0) | (u[row, agent, 2] < 0.4)
        empty = np.where(free.any(axis=1), free.argmax(axis=1), out[row, agent])
        out[row, agent] = np.where(to_alone, empty, out[row, friend])
    return out


def _keep(labels: Labels, value: FloatArray) -> tuple[Labels, FloatArray]:
    """Of K partitions of each scenario the one with the largest welfare."""
    copies = np.arange(labels.shape[1])
    best = value.argmax(axis=0)
    return labels[best, copies], value[best, copies]
