"""Games whose values depend on the partition: deviation rules, stability, how groups form."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nashgrid.baselines.characteristic import core, dynamics, stability, values
from nashgrid.baselines.characteristic import partition_function as pf
from nashgrid.baselines.characteristic.partitions import block_masks, canonical, partitions, row_of
from nashgrid.envs.core.random import stream, uniform

# Three players; rows 000, 001, 010, 011, 012 and the value of every player's group. A pair that
# forms harms the third: standing alone is worth 2 if nobody has joined, else 0.
HARM = np.array([[9.0, 9, 9], [5, 5, 0], [6, 0, 6], [0, 7, 7], [2, 2, 2]])
SEEDS = np.arange(40, dtype=np.uint64)


def equal_surplus(game: pf.PartitionFunction):
    labels = game.labels
    same = labels[:, :, None] == labels[:, None, :]
    alone = (same * game.alone[..., None, None, :]).sum(axis=-1)
    return game.alone[..., None, :] + (game.value - alone) / same.sum(axis=-1)


def random_payoffs(seed: int, n: int):
    """Payoffs in all partitions, such that most rules of stability have something to say."""
    count = len(partitions(n))
    return uniform(np.array([seed], dtype=np.uint64), stream("test.payoffs"), count * n).reshape(
        count, n
    )


def groups_of(labels):
    return {frozenset(np.flatnonzero(labels == c).tolist()) for c in set(labels.tolist())}


# ----- partition functions -----


def test_deviation_rules_of_a_three_player_game():
    game = pf.partition_function(HARM)
    # by bit mask: -, 0, 1, 01, 2, 02, 12, 012
    np.testing.assert_array_equal(pf.characteristic(game, "gamma"), [0, 2, 2, 5, 2, 6, 7, 9])
    np.testing.assert_array_equal(pf.characteristic(game, "delta"), [0, 0, 0, 5, 0, 6, 7, 9])
    np.testing.assert_array_equal(pf.characteristic(game, "optimistic"), [0, 2, 2, 5, 2, 6, 7, 9])
    np.testing.assert_array_equal(pf.characteristic(game, "pessimistic"), [0, 0, 0, 5, 0, 6, 7, 9])
    np.testing.assert_array_equal(game.welfare, [9, 5, 6, 7, 6])
    np.testing.assert_array_equal(game.alone, [2, 2, 2])
    assert game.grand == 9 and game.best == 0
    # sum of pairs 18 = 2 x 9: the core is one point, x_i = 9 - v(others)
    np.testing.assert_allclose(core.least_core(pf.characteristic(game, "delta")).payoff, [2, 3, 4])


def test_without_externalities_every_deviation_rule_gives_the_same_game():
    v = uniform(np.arange(3, dtype=np.uint64), stream("test.games"), 32)
    v[:, 0] = 0.0
    game = pf.from_characteristic(v)
    assert game.value.shape == (3, 52, 5)
    np.testing.assert_allclose(game.welfare, v[:, block_masks(partitions(5))].sum(axis=-1))
    for rule in pf.DEVIATION_RULES:
        np.testing.assert_array_equal(pf.characteristic(game, rule), v)


def test_optimistic_and_pessimistic_are_the_extremes_over_partitions():
    n = 4
    labels = partitions(n)
    masks = np.take_along_axis(block_masks(labels), labels, axis=1)
    worth = uniform(labels @ 5 ** np.arange(n, dtype=np.uint64), stream("test.worth"), 16)
    game = pf.partition_function(np.take_along_axis(worth, masks, axis=1))
    best, worst = (pf.characteristic(game, r) for r in ("optimistic", "pessimistic"))
    for mask in range(1, 16):
        among = [worth[p, mask] for p in range(len(labels)) if mask in masks[p]]
        assert best[mask] == max(among) and worst[mask] == min(among)
        assert worst[mask] <= pf.characteristic(game, "gamma")[mask] <= best[mask]


def test_groups_share_in_their_own_game():
    game = pf.partition_function(np.stack([HARM, 2 * HARM]))
    shapley = pf.shared(game, values.shapley)
    # the grand coalition has the gamma game; pairs split what exceeds 2 each
    wanted = [values.shapley(pf.characteristic(pf.partition_function(HARM), "gamma"))]
    wanted += [[2.5, 2.5, 0], [3, 0, 3], [0, 3.5, 3.5], [2, 2, 2]]
    np.testing.assert_allclose(shapley, [wanted, 2 * np.array(wanted)], rtol=1e-14)
    nucleolus = pf.shared(game, core.nucleolus)
    np.testing.assert_allclose(nucleolus.sum(axis=-1)[0], [9, 5, 6, 7, 6], rtol=1e-12)
    sizes = [(g.members.shape[1], len(g.row)) for g in pf.own_games(game)]
    assert sizes == [(1, 6), (2, 3), (3, 1)]


def test_what_is_no_partition_function_is_refused():
    with pytest.raises(ValueError, match="3 players have 5"):
        pf.partition_function(HARM[1:])
    with pytest.raises(ValueError, match="not finite"):
        pf.partition_function(HARM + [0, np.inf, 0])
    with pytest.raises(ValueError, match="different values"):
        pf.partition_function(HARM + [1, 0, 0])
    with pytest.raises(ValueError, match="1 to 9 players"):
        pf.partition_function(np.zeros((3, 10)))
    with pytest.raises(ValueError, match="did you mean 'gamma'"):
        pf.characteristic(pf.partition_function(HARM), "gama")


# ----- stability -----


def test_stable_partitions_of_a_three_player_game():
    payoff = equal_surplus(pf.partition_function(HARM))
    # grand coalition 3 each; pairs (2.5, 2.5, 0), (3, ., 3), (., 3.5, 3.5); alone 2 each.
    # From all together nobody leaves for 0. From a pair the third joins: 3 > 0, and the members of
    # 01 get 3 > 2.5, those of 02 exactly 3, those of 12 lose.
    assert stability.is_stable(payoff).tolist() == [True, False, False, False, False]
    assert stability.is_stable(payoff, "individual").tolist() == [True, False, False, True, False]
    gain = stability.unilateral_gain(payoff)
    np.testing.assert_allclose(gain[3], [3, 0, 0])
    np.testing.assert_allclose(gain[4], [1, 1.5, 1.5])
    # merging all pays everybody but where 12 would lose; no split of all pays whoever is left over
    assert stability.is_merge_split_stable(payoff).tolist() == [True, False, False, True, False]
    # who pays 3 for a move does not move
    assert stability.is_stable(payoff, cost=3.0).all()
    found = stability.efficiency(payoff.sum(axis=1), stability.is_stable(payoff, "individual"))
    assert (found.count, found.best.row, found.worst.row) == (2, 0, 3)
    assert (found.best.price, found.worst.share) == (1.0, pytest.approx(1 / 3))
    assert found.worst.price == pytest.approx(3.0)
    none = stability.efficiency(payoff.sum(axis=1), np.zeros(5, dtype=bool))
    rounding = stability.efficiency(np.array([0.0, 1e-17, -1e-16, 0.0, 0.0]), np.ones(5, bool))
    assert (rounding.worst.share, rounding.worst.price) == (1.0, 1.0)  # nothing to attain
    assert none.count == 0 and none.best.row == -1 and np.isnan(none.worst.price)


def deviations(labels):
    """(player, labels after its move) for every move to another group or to stand alone."""
    for i, c in product(range(len(labels)), range(len(labels) + 1)):
        after = labels.copy()
        after[i] = c
        if groups_of(after) != groups_of(labels):
            yield i, after


@pytest.mark.parametrize("seed", range(6))
def test_stability_is_that_of_the_definitions(seed):
    n, tolerance = 4, 1e-7
    payoff = random_payoffs(seed, n)
    rows = partitions(n)
    row = {frozenset(groups_of(r)): p for p, r in enumerate(rows)}
    for p, labels in enumerate(rows):
        stable = dict.fromkeys(stability.RULES, True)
        for i, after in deviations(labels):
            q = row[frozenset(groups_of(after))]
            if payoff[q, i] <= payoff[p, i] + tolerance:
                continue
            joined = [j for j in range(n) if j != i and after[j] == after[i]]
            left = [j for j in range(n) if j != i and labels[j] == labels[i]]
            loses = payoff[q] < payoff[p]
            stable["nash"] = False
            if not loses[joined].any():
                stable["individual"] = False
                if not loses[left].any():
                    stable["contractual"] = False
        for rule, wanted in stable.items():
            assert stability.is_stable(payoff, rule)[p] == wanted
        wanted = True
        for q, other in enumerate(rows):
            changed = groups_of(labels) ^ groups_of(other)
            before = [g for g in changed if g in groups_of(labels)]
            after = [g for g in changed if g in groups_of(other)]
            if min(len(before), len(after)) == 1:  # one into many or many into one
                who = sorted(set().union(*before))
                gain = payoff[q, who] - payoff[p, who]
                wanted &= not (gain.min() >= 0 and gain.max() > 0)
        assert stability.is_merge_split_stable(payoff)[p] == wanted


def test_tables_of_many_games_are_treated_one_by_one():
    payoff = np.stack([random_payoffs(s, 4) for s in range(3)])
    for function in (stability.unilateral_gain, stability.is_merge_split_stable):
        together = function(payoff)
        for b in range(3):
            assert together[b].tobytes() == function(payoff[b]).tobytes()


def test_stability_refuses_what_is_no_table():
    with pytest.raises(ValueError, match="partitions of at most 9|all partitions of"):
        stability.is_stable(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="did you mean 'nash'"):
        stability.unilateral_gain(np.zeros((5, 3)), "nsh")


# ----- how groups form -----


@pytest.mark.parametrize("rule", stability.RULES)
def test_better_replies_end_where_the_table_is_stable(rule):
    ended = 0
    for seed in range(5):
        payoff = random_payoffs(seed, 4)
        start = np.tile(np.arange(4), (len(SEEDS), 1))
        found = dynamics.better_replies(
            dynamics.payoff_of_table(payoff), start, SEEDS, rule, most_sweeps=30
        )
        rows = row_of(found.labels)
        np.testing.assert_array_equal(found.payoff, payoff[rows])
        assert stability.is_stable(payoff, rule)[rows[found.stable]].all()
        assert (found.sweeps[~found.stable] == 30).all()
        ended += found.stable.sum()
    assert ended > 20


@pytest.mark.parametrize("rule", stability.RULES)
def test_gains_of_moves_are_those_of_the_table(rule):
    table = random_payoffs(3, 4)
    rows = partitions(4)
    found = dynamics.move_gains(dynamics.payoff_of_table(table), rows, rule, cost=0.05)
    np.testing.assert_allclose(found, stability.unilateral_gain(table, rule, 0.05), atol=1e-15)


def test_every_copy_of_better_replies_follows_its_own_seed_and_game():
    tables = np.stack([random_payoffs(s, 4) for s in (0, 1, 2)])
    start = partitions(4)[[0, 7, 14]]
    together = dynamics.better_replies(dynamics.payoff_of_table(tables), start, SEEDS[:3])
    for b in range(3):
        single = dynamics.better_replies(
            dynamics.payoff_of_table(tables[b]), start[b : b + 1], SEEDS[b : b + 1]
        )
        np.testing.assert_array_equal(single.labels, together.labels[b : b + 1])
        assert single.moves[0] == together.moves[b] and single.sweeps[0] == together.sweeps[b]


def test_better_replies_make_the_best_move_unless_it_costs_too_much():
    payoff = dynamics.payoff_of_table(equal_surplus(pf.partition_function(HARM)))
    start = np.tile(np.arange(3), (len(SEEDS), 1))
    # from all alone whoever is first joins the best partner; the third then joins as Nash allows,
    # or 2 leaves 0 for 1 before that
    nash = dynamics.better_replies(payoff, start, SEEDS)
    assert nash.stable.all() and (nash.labels == 0).all() and set(nash.moves.tolist()) == {2, 3}
    kind = dynamics.better_replies(payoff, start, SEEDS, "individual")
    ends = {tuple(r) for r in kind.labels.tolist()}
    assert kind.stable.all() and ends == {(0, 0, 0), (0, 1, 1)}
    idle = dynamics.better_replies(payoff, start, SEEDS, cost=2.0)
    assert idle.stable.all() and (idle.moves == 0).all() and (idle.sweeps == 1).all()


def test_merge_and_split_ends_where_neither_is_preferred():
    ended = 0
    for seed in range(10):
        table = random_payoffs(seed, 4)
        found = dynamics.merge_and_split(lambda x, t=table: t[row_of(x)], np.arange(4))
        row = row_of(found.labels)
        np.testing.assert_array_equal(found.payoff, table[row])
        np.testing.assert_array_equal(found.path[-1], found.labels)
        np.testing.assert_array_equal(found.path[0], np.arange(4))
        if found.stable:
            assert stability.is_merge_split_stable(table)[row]
        ended += found.stable
    assert ended >= 5


def test_merge_and_split_takes_another_comparison_and_limits():
    def utilitarian(before, after, concerned):
        return ((after - before) * concerned).sum(axis=-1) > 1e-9

    # a group is worth the square of its size up to 3 members: pairs of pairs do not merge
    def payoff(labels):
        size = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
        return np.where(size <= 3, size.astype(float), 0.0)

    found = dynamics.merge_and_split(payoff, np.arange(7), utilitarian, most_merged=3)
    assert found.stable and sorted(np.bincount(found.labels)) == [1, 3, 3]
    apart = dynamics.merge_and_split(payoff, np.zeros(7, dtype=int), utilitarian, most_parts=2)
    assert apart.stable and np.bincount(apart.labels).max() <= 3
    np.testing.assert_array_equal(apart.labels, canonical(apart.labels))


def test_dynamics_refuse_what_they_cannot_play():
    payoff = dynamics.payoff_of_table(random_payoffs(0, 4))
    with pytest.raises(ValueError, match="did you mean 'nash'"):
        dynamics.better_replies(payoff, np.zeros((1, 4), dtype=int), SEEDS[:1], "nahs")
    with pytest.raises(ValueError, match=r"give \[B, n\], \[B\]"):
        dynamics.better_replies(payoff, np.zeros((1, 4), dtype=int), SEEDS[:2])
    with pytest.raises(ValueError, match="smaller most_merged"):
        dynamics.merge_and_split(lambda x: np.zeros(x.shape), np.arange(30))
