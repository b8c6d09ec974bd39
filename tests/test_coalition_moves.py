"""Moves of the coalition-choice game: their order, masks, consent, slots."""

import numpy as np
import pytest
from coalition_rounds import ENCODINGS, ID, mixed, order_of, start

import nashgrid
from nashgrid.envs.core.checks import random_actions


def moved_by_hand(encoding, labels, actions, neighbour, order):
    """(labels, moved, illegal, blocked) by the page's rules, with sets of members."""
    n, near = neighbour.shape
    groups = {c: {i for i in range(n) if labels[i] == c} for c in range(n)}
    began = {c: set(members) for c, members in groups.items()}
    first_empty = next((c for c in range(n) if not began[c]), None)
    at = list(labels)
    moved, illegal, blocked = np.zeros((3, n))
    for i in order:
        wish, own, join, leave = int(actions[i, 0]), at[i], None, False
        if encoding == "label":
            if wish != own and began[wish]:
                join = wish
            elif wish != own and wish == first_empty and len(began[own]) > 1:
                leave = True
            elif wish != own:
                illegal[i] = 1
        elif wish == near + 1:
            leave = len(began[own]) > 1
            illegal[i] = not leave
        elif wish > 0:
            j = neighbour[i, wish - 1]
            if j < 0 or labels[j] == own:
                illegal[i] = 1
            else:
                join = at[j]
        if join is not None and join != own:
            agreed = encoding != "protocol" or all(actions[m, 1] == 1 for m in groups[join])
            if not groups[join] or not agreed:
                blocked[i] = 1
                join = None
        if leave and len(groups[own]) > 1:
            join = min(c for c in range(n) if not groups[c])
        if join is not None and join != own:
            groups[own].remove(i)
            groups[join].add(i)
            at[i] = join
            moved[i] = 1
    return at, moved, illegal, blocked


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("preset", ["eight-node", "ieee30"])
def test_moves_are_made_one_after_another_in_the_drawn_order(preset, encoding):
    game, scenario, state = start(12, preset, encoding=encoding, neighbours=3, trades=3, ac="off")
    total = np.zeros(3)
    for t in range(6):
        actions = random_actions(game, 12, t)
        if encoding == "trade":
            actions[..., 1:] = 1  # no trade: only moves can be illegal
        step = game.step(scenario, state, actions)
        for b in range(12):
            order = order_of(scenario.seed[b], t, game.n_agents)
            labels, *marks = moved_by_hand(
                encoding, state.labels[b], actions[b], scenario.neighbour[b], order
            )
            assert step.state.labels[b].tolist() == labels
            for name, expected in zip(("moved", "illegal", "blocked"), marks, strict=True):
                np.testing.assert_array_equal(step.metrics[name][b], expected)
            total += np.sum(marks, axis=1)
        state = step.state
    assert total[0] > 0 and total[1] > 0 and (total[2] > 0 or encoding in ("neighbours", "trade"))


def test_the_order_of_moves_differs_between_rounds_and_seeds():
    orders = {tuple(order_of(seed, t, 7)) for seed in range(20) for t in range(16)}
    assert len(orders) > 300
    firsts = [order_of(seed, 0, 7)[0] for seed in range(700)]
    assert np.bincount(firsts, minlength=7).min() > 60  # 100 each, 9 standard error


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_legal_move_is_made_as_asked_where_nobody_else_moves(encoding):
    game, scenario, begin = start(6, encoding=encoding, neighbours=4, trades=3)
    state = mixed(game, scenario, begin, 3)
    mask = game.action_mask(scenario, state)
    near, moves = scenario.neighbour.shape[2], game.choices[0]
    stay = np.zeros((6, 7, game.action_size), dtype=np.int64)
    stay[..., 1:] = 1  # accept, and no trade
    if encoding == "label":
        stay[..., 0] = state.labels
    legal = 0
    for agent in range(7):
        for option in range(moves):
            actions = stay.copy()
            actions[:, agent, 0] = option
            step = game.step(scenario, state, actions)
            after = step.state.labels
            for b in range(6):
                if not mask[b, agent, option]:
                    assert step.metrics["illegal"][b, agent] == 1.0
                    assert (after[b] == state.labels[b]).all()
                    continue
                legal += 1
                assert not step.metrics["illegal"][b].any() and not step.metrics["blocked"][b].any()
                others = np.delete(np.arange(7), agent)
                assert (after[b, others] == state.labels[b, others]).all()
                own, size = after[b, agent], (after[b] == after[b, agent]).sum()
                if encoding == "label":
                    assert own == option
                elif option == 0:
                    assert own == state.labels[b, agent]
                elif option == near + 1:
                    assert size == 1 and own != state.labels[b, agent]
                else:
                    assert own == state.labels[b, scenario.neighbour[b, agent, option - 1]]
    assert legal > 100


def test_a_newcomer_needs_the_consent_of_every_member():
    game, scenario, state = start(preset="fixture", encoding="protocol")
    join = np.zeros((1, 7, 2), dtype=np.int64)
    join[0, :, 1] = 1
    join[0, 0, 0] = 1  # A1 joins A2
    state = game.step(scenario, state, join).state
    assert state.labels[0, 0] == state.labels[0, 1]
    third = join * 0
    third[0, 2, 0] = 1  # A3's nearest line leads to A2
    for consent, admitted in (((1, 1), True), ((1, 0), False), ((0, 1), False)):
        third[0, :2, 1] = consent
        step = game.step(scenario, state, third)
        assert (step.state.labels[0, 2] == state.labels[0, 1]) == admitted
        assert step.metrics["blocked"][0, 2] == (not admitted)


def test_a_slot_that_its_members_left_cannot_be_joined():
    found = 0
    for seed in range(20):
        game = nashgrid.game(ID, "fixture")
        scenario = game.draw(np.array([seed], dtype=np.uint64))
        actions = np.arange(7)[None, :, None].copy()
        actions[0, 0], actions[0, 1] = 1, 2  # A1 wants A2's slot, A2 goes to A3
        step = game.step(scenario, game.initial(scenario), actions)
        order = order_of(scenario.seed[0], 0, 7)
        late = order.index(0) > order.index(1)
        assert step.metrics["blocked"][0, 0] == late
        assert step.state.labels[0, 0] == (0 if late else 1)
        found += late
    assert 0 < found < 20


def test_slots_are_the_physical_unit_of_labels_and_distance_ignores_their_numbers():
    game, scenario, _ = start(2)
    slots = np.array([[0, 0, 2, 2, 4, 4, 4], [6, 6, 1, 1, 0, 0, 0]])
    quantity = slots[:, None, :, None].astype(float)
    np.testing.assert_array_equal(game.action(scenario, quantity[:, 0])[..., 0], slots)
    assert not game.distance(quantity, quantity[::-1]).any()
    apart = quantity.copy()
    apart[0, 0, 0] = 5.0  # agent 0 leaves agent 1: one pair of 21
    assert game.distance(apart, quantity).tolist() == pytest.approx([1 / 21, 0.0])
    with pytest.raises(TypeError, match="no physical unit"):
        nashgrid.game(ID, encoding="neighbours").quantity(scenario, slots)
