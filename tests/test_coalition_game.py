"""The coalition-choice game as a game: contract, draws, arguments, what agents see, pictures."""

from dataclasses import replace

import numpy as np
import pytest

import nashgrid
from nashgrid.envs.coalition import pictures
from nashgrid.envs.coalition.cases import grid
from nashgrid.envs.coalition.stage import all_alone, all_together, play_stage
from nashgrid.envs.core import checks
from nashgrid.envs.core.errors import InvalidArguments
from nashgrid.testing import check_game, check_views

ID = "coalition-v0"
SEEDS = np.arange(40, dtype=np.uint64)


# ----- promises and errors -----


def test_eight_nodes_keep_the_contract_through_every_view():
    game = nashgrid.game(ID)
    assert game.n_agents == 7 and game.choices == (7,) and game.horizon == 16
    check_game(game, references=False)


@pytest.mark.parametrize(
    ("preset", "arguments"),
    [
        ("fixture", {}),
        ("fixture", {"encoding": "protocol", "variant": "myopic", "sharing": "price"}),
        ("eight-node", {"encoding": "trade", "sharing": "equal", "neighbours": 2, "team": True}),
        ("eight-node", {"generators": 0.5, "line_limit": 1.2, "information": "neighbours"}),
        ("eight-node", {"sharing": "shapley", "variant": "independent", "fee_per": "line"}),
        ("eight-node", {"agents_at": ("A1", "A7"), "density": 1.0, "rounds": 3}),
        ("ieee30", {"rounds": 4}),
        ("ieee30", {"ac": "charge", "encoding": "label", "agents_at": "loads", "rounds": 2}),
        ("ieee30", {"network": "case14", "encoding": "protocol", "ac": "off"}),
    ],
)
def test_presets_and_other_rules_keep_the_contract(preset, arguments):
    game = nashgrid.game(ID, preset, **arguments)
    assert game == type(game)(**game.arguments)
    for check in checks.ALL:
        check(game)


def test_several_choices_are_played_through_every_view():
    check_views(nashgrid.game(ID, encoding="trade", sharing="equal", neighbours=2, rounds=2))
    env = nashgrid.make(ID, encoding="protocol", neighbours=3)
    assert env.action_space("prosumer_0").nvec.tolist() == [5, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "case31"}, "did you mean 'case30'"),
        ({"agents_at": ("A1", "B2")}, "does not have: B2"),
        ({"agents_at": ("A1", "G")}, r"'G' is the main grid \(slack\)"),
        ({"agents_at": ("A1",)}, "at least 2"),
        ({"density": 1.1}, r"density = 1.1 is out of range \(allowed: >= 0 and <= 1\)"),
        ({"feed_in": (0.5, 1.2)}, "feed-in price would be above the retail price"),
        ({"price_loss": 0.0}, "price_loss = 0.0 is out of range"),
        ({"line_limit": 0.9}, "line_limit = 0.9"),
        ({"lines": "given", "network": "case14"}, "only 'eight-node' has lines of its own"),
        ({"lines": (("A1", "A1", 0.1),)}, "joins bus 'A1' to itself"),
        ({"lines": (("A1", "G", 0.1),)}, "no agent at bus 'G'"),
        ({"lines": (("A1", "A2", 0.1), ("A2", "A1", 0.2))}, "a second line between"),
        ({"lines": (("A1", "A2", -0.1),)}, r"lines\[0\] resistance = -0.1"),
        ({"q_pu": (1.0, -1.0)}, "q_pu has 2 entries, 7 are needed"),
        ({"trades": 4}, "leaves no level 0"),
        ({"encoding": "trade"}, "needs the equilibrium"),
        (
            {"encoding": "trade", "sharing": "equal", "generators": 0.5},
            "no generators and no line_limit",
        ),
        ({"network": "case118"}, "take 'neighbours'"),
        ({"network": "case118", "sharing": "shapley"}, "2\\^n equilibria"),
        ({"sharing": "nucleolus"}, "sharing 'nucleolus' is unknown"),
        ({"fee": -0.1}, "fee = -0.1"),
        ({"agents_at": 5}, r"agents_at = 5 \(allowed: 'all', 'loads', or names of buses\)"),
        ({"lines": (({}, "A2", 0.1),)}, "no agent at bus {}"),
        ({"agents_at": ("A1", "A5"), "demand": "grid"}, "owners = 0.5: own generation is sized"),
        (
            {"agents_at": ("A1", "A5"), "demand": "grid", "owners": None, "generators": 0.5},
            "generators = 0.5 are sized by the agents' demand: there is none",
        ),
    ],
)
def test_bad_arguments_get_one_clear_error(arguments, message):
    with pytest.raises(InvalidArguments, match=message):
        nashgrid.game(ID, **arguments)


def test_all_problems_of_the_arguments_are_reported_at_once():
    with pytest.raises(InvalidArguments) as caught:
        nashgrid.game(ID, density=2, rho=0.0, variant="extern", rounds=0)
    assert len(caught.value.problems) == 4 and "did you mean 'externality'" in str(caught.value)


def test_a_game_without_anything_to_gain_is_refused_when_drawn():
    with pytest.raises(ValueError, match="leave nothing to gain by trade: give more lines"):
        nashgrid.game(ID, density=0.0).draw(SEEDS[:3])
    with pytest.raises(ValueError, match="AC power flow without trade does not converge"):
        nashgrid.game(ID, "fixture", ac="check").draw(SEEDS[:1])


# ----- draws -----


def test_drawn_lines_and_neighbours_follow_the_distances():
    game = nashgrid.game(ID, "ieee30", density=0.3, rho=2.0, neighbours=3, ac="off")
    drawn = game.draw(SEEDS)
    here = drawn.line_r_pu > 0.0
    pairs = 29 * 28 / 2
    assert abs(here.sum(axis=1).mean() / pairs - 0.3) < 4 * np.sqrt(0.21 / pairs / len(SEEDS))
    row, line = np.nonzero(here)
    a, b = drawn.line_from[row, line], drawn.line_to[row, line]
    apart = np.linalg.norm(drawn.position[row, a] - drawn.position[row, b], axis=1)
    original = grid("case_ieee30").r_original_pu
    expected = 2.0 * np.median(original[original > 0.0]) * apart / 0.5214
    np.testing.assert_allclose(drawn.line_r_pu[row, line], np.maximum(expected, 1e-4), rtol=1e-12)
    for copy in (0, 17):
        for agent in range(29):
            mine = (row == copy) & ((a == agent) | (b == agent))
            ends = np.where(a[mine] == agent, b[mine], a[mine])
            order = ends[np.argsort(expected[mine])][:3].tolist()
            assert drawn.neighbour[copy, agent].tolist() == order + [-1] * (3 - len(order))


def test_endowments_are_the_grids_with_spread_and_share():
    public = grid("case118")
    game = nashgrid.game(ID, "ieee118", demand_spread=0.1, generation_share=0.9, ac="off")
    drawn = game.draw(SEEDS[:5])
    demand = drawn.bus_demand_pu
    factor = demand[:, public.load_pu > 0.0] / public.load_pu[public.load_pu > 0.0]
    assert 0.9 <= factor.min() < 0.92 and 1.08 < factor.max() <= 1.1
    made = drawn.bus_p_pu + demand
    np.testing.assert_allclose(made.sum(axis=1), 0.9 * demand.sum(axis=1))
    assert not made[:, public.generation_pu == 0.0].any()
    np.testing.assert_array_equal(drawn.q_pu, drawn.bus_p_pu[:, public.others])


def test_owners_share_out_the_generation_and_prices_stay_in_their_ranges():
    game = nashgrid.game(ID, price_buy=(0.8, 1.2), price_loss=(1.0, 2.0), generators=0.5)
    drawn = game.draw(np.arange(400, dtype=np.uint64))
    ratio = drawn.price_sell / drawn.price_buy
    for value, low, high in (
        (drawn.price_buy, 0.8, 1.2),
        (drawn.price_loss, 1.0, 2.0),
        (ratio, 0.4, 0.9),
        (7.0 * drawn.fee / drawn.attainable, 0.2, 0.4),
    ):
        assert low <= value.min() and value.max() <= high
        assert abs(value.mean() - 0.5 * (low + high)) < 0.06 * (low + high)
    own = drawn.bus_p_pu + drawn.bus_demand_pu > 1e-12
    assert abs(own[:, :7].mean() - 0.5) < 0.06 and not own[:, 7].any()
    has = drawn.generator_max_pu > 0.0
    assert abs(has.mean() - 0.5) < 0.04
    dear = (drawn.generator_price / drawn.price_buy[:, None])[has]
    assert 0.3 <= dear.min() and dear.max() <= 0.9
    top = (drawn.generator_price + 2.0 * drawn.generator_quadratic * drawn.generator_max_pu)[has]
    np.testing.assert_allclose(top / np.repeat(drawn.price_buy, has.sum(axis=1)), dear + 0.5)


def test_own_generation_is_sized_by_the_demand_of_the_agents():
    few = {"network": "case118", "agents_at": ("2", "3", "7"), "demand_spread": 0.0}
    mean = (
        grid("case118").load_pu[[grid("case118").buses.index(b) for b in few["agents_at"]]].mean()
    )
    game = nashgrid.game(ID, **few, generators=1.0)
    drawn = game.draw(SEEDS)
    size = drawn.generator_max_pu / mean
    assert 0.5 <= size.min() < 0.6 and 1.4 < size.max() <= 1.5
    game = nashgrid.game(ID, **few, owners=1.0, generation_share=None)
    drawn = game.draw(SEEDS)
    made = (drawn.bus_p_pu + drawn.bus_demand_pu)[:, game.place.agents] / mean
    assert 0.5 <= made.min() < 0.6 and 1.4 < made.max() <= 1.5


def test_worth_alone_and_attainable_gain_are_those_of_the_stage():
    game = nashgrid.game(ID, agents_at=("A1", "A2", "A4", "A5", "A6"))
    drawn = game.draw(SEEDS)
    free = replace(drawn, fee=np.zeros_like(drawn.fee))
    alone = all_alone(game.rules, free)
    np.testing.assert_allclose(drawn.alone, alone.payoff)
    gain = all_together(game.rules, free).welfare - alone.welfare
    np.testing.assert_allclose(drawn.attainable, gain)
    assert (drawn.attainable > 1e-6).all()
    # what agents pay and what the others' own flows lose is the loss at all injections
    loss = np.einsum("bi,ij,bj->b", drawn.bus_p_pu, grid("eight-node").loss_matrix, drawn.bus_p_pu)
    step = game.step(drawn, game.initial(drawn), np.tile(np.arange(5), (40, 1))[..., None])
    np.testing.assert_allclose(step.metrics["public_loss_pu"], loss, rtol=1e-12)


def test_poor_draws_are_drawn_anew_each_from_its_own_seed():
    game = nashgrid.game(ID, density=0.06)
    drawn = game.draw(SEEDS)
    assert ((drawn.line_r_pu > 0.0).sum(axis=1) >= 1).all()
    checks.check_rows_by_own_seed(game)


def test_draws_are_best_played_in_some_groups_neither_one_nor_none():
    game = nashgrid.game(ID)
    drawn = game.draw(SEEDS)
    rows, labels = np.arange(40), np.tile(np.arange(7), (40, 1))
    for agent in list(range(7)) * 6:  # one after another moves to the slot that is best for all
        tried = np.repeat(labels[None], 7, axis=0)
        tried[:, :, agent] = np.arange(7)[:, None]
        welfare = np.array([play_stage(game.rules, drawn, rows, t).welfare for t in tried])
        labels[:, agent] = welfare.argmax(axis=0)
    trivial = np.maximum(all_together(game.rules, drawn).welfare, drawn.alone.sum(axis=1))
    assert (welfare.max(axis=0) > trivial + 1e-6).mean() > 0.9


# ----- what agents see -----


def seen(game, scenario, state, agent):
    values = game.physical(game.observe(scenario, state))[0, agent]
    return dict(zip([f.name for f in game.features], values, strict=True))


def test_features_of_the_fixture_are_numbers_of_its_tables():
    game = nashgrid.game(ID, "fixture")
    scenario = game.draw(SEEDS[:1])
    actions = np.array([1, 1, 1, 4, 4, 5, 6])[None, :, None]
    state = game.step(scenario, game.initial(scenario), actions).state
    mean = 8.6 / 7.0
    a2 = seen(game, scenario, state, 1)
    assert a2["endowment"] == pytest.approx(-1.0 / mean, abs=1e-6)
    assert a2["alone"] == pytest.approx(-1.025 / mean, abs=1e-4)
    assert a2["group_size"] == pytest.approx(3 / 7) and a2["time_left"] == pytest.approx(15 / 16)
    assert a2["group_net"] == pytest.approx(0.6 / mean, abs=1e-5)
    # A1 is nearest: .6 spread x 1 pu - .00097, of the mean gain 1.5887 / 7
    assert a2["near_1_endowment"] == pytest.approx(2.6 / mean, abs=1e-6)
    assert a2["near_1_gain"] == pytest.approx((0.6 - 0.00097) * 7 / 1.5887, abs=1e-3)
    assert a2["near_1_together"] == 1.0 and a2["near_2_resistance"] * 0.15 == pytest.approx(0.0041)
    assert [a2[f"slot_{c}_own"] for c in range(7)] == [0, 1, 0, 0, 0, 0, 0]
    assert [a2[f"slot_{c}_leave"] for c in range(7)] == [1, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose([a2[f"slot_{c}_size"] * 7 for c in range(7)], [0, 3, 0, 0, 2, 1, 1],
                               atol=1e-6)  # fmt: skip
    assert a2["slot_1_lines"] == 1.0 and a2["slot_4_lines"] == 0.0
    a6 = seen(game, scenario, state, 5)
    assert a6["near_1_present"] == 0.0 and a6["slot_0_leave"] == 0.0


def test_who_sees_neighbours_alone_is_blind_to_the_rest_of_their_groups():
    arguments = {"neighbours": 2, "information": "neighbours"}
    game = nashgrid.game(ID, "fixture", **arguments)
    scenario = game.draw(SEEDS[:1])
    labels = np.array([[1, 1, 1, 4, 4, 4, 6]])
    state = replace(game.initial(scenario), labels=labels)
    q = scenario.q_pu.copy()
    q[0, 5], q[0, 6] = -2.0, 0.0  # A6 and A7, who own no lines: the mean size is the same
    other = replace(scenario, q_pu=q)
    for info, changed in (("neighbours", [5, 6]), ("complete", list(range(7)))):
        one = replace(game, information=info)
        differ = (one.observe(scenario, state) != one.observe(other, state)).any(axis=(0, 2))
        own = (np.arange(7) == 3) | (np.arange(7) == 4)  # they know their own group's net
        assert np.flatnonzero(differ | own).tolist() == sorted({*changed, 3, 4})
    complete = replace(game, information="complete")
    whole = complete.observe(scenario, state).reshape(1, -1)
    np.testing.assert_array_equal(game.global_state(scenario, state), whole)


# ----- pictures -----


@pytest.mark.parametrize("preset", ["fixture", "ieee30"])
def test_pictures_tell_groups_flows_and_gains(preset):
    game = nashgrid.game(ID, preset, ac="off")
    scenario = game.draw(SEEDS[:1])
    actions = np.zeros((1, game.n_agents, 1), dtype=np.int64)
    state = game.step(scenario, game.initial(scenario), actions).state
    words = pictures.text(game, scenario, state)
    figure = pictures.figure(game, scenario, state)
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_ylim()
    y = scenario.position[0, :, 1]
    assert min(y.min() - low, high - y.max()) > 0.09 * (high - low)  # no marker is cut
    assert len(figure.axes) == 2 and "1 of 16 round(s) played" in words
    if preset == "fixture":
        assert "{0, 1, 2, 3, 4, 5, 6}  value -2.6482 EUR/h" in words
        assert "1.00 of the attainable gain" in words
        shown = {t.get_text() for t in figure.axes[0].texts}
        assert {"0: +2.60", "2.12", "1.00", "0.62"} <= shown  # published flows
    margins = pictures.limits(game, scenario, {"qp_failed": np.zeros(1)})
    assert list(margins) == ["equilibrium of the groups"]
