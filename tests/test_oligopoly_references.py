"""References of the oligopoly: published numbers, independent solvers, brute force, invariants."""

import clarabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import nashgrid
from nashgrid import baselines
from nashgrid.baselines import cournot, oligopoly, stackelberg
from nashgrid.baselines.interval import maximise_interval
from nashgrid.envs.core.contract import take
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.random import uniform
from nashgrid.envs.oligopoly.payoffs import profit_eur

SEEDS = np.arange(3, dtype=np.uint64)


def outputs_of(reference):
    """f64[B, n], MWh: every firm moves once, and its output is 0 in the other round."""
    return reference.profile.sum(axis=1)[..., 0]


def solved(preset, solver=None, **arguments):
    game = nashgrid.game("oligopoly-v0", preset, **arguments)
    reference = nashgrid.solve(game, game.draw(SEEDS), solver)
    assert reference.certificate.status == "exact" and reference.certificate.holds.all()
    return reference


# ----- textbook numbers; a = 120, b = 1/2, c = (10, 12), derived by hand -----


@pytest.mark.parametrize(
    ("preset", "solver", "outputs", "price", "profits", "welfare"),
    [
        # q_i = (a - 2 c_i + c_j) / (3 b)
        ("duopoly", "nash", (224 / 3, 212 / 3), 142 / 3, (25088 / 9, 22472 / 9), 95084 / 9),
        ("duopoly", "cartel", (110, 0), 65, (6050, 0), 9075),
        ("duopoly", "competitive", (220, 0), 10, (0, 0), 12100),
        ("stackelberg", "stackelberg", (112, 52), 38, (3136, 1352), 11212),
        ("triopoly", "nash", (58, 54, 50), 39, (1682, 1458, 1250), 10951),
    ],
)
def test_golden_table(preset, solver, outputs, price, profits, welfare):
    reference = solved(preset, solver)
    np.testing.assert_allclose(outputs_of(reference), [outputs] * 3, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(reference.details["price_eur_per_mwh"], price, rtol=1e-12)
    np.testing.assert_allclose(reference.payoffs, [profits] * 3, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(reference.welfare, welfare, rtol=1e-12)


def test_kkt_residual_is_the_marginal_profit_that_capacity_leaves_room_for():
    # at 55, 55 the price is 65: marginal profits 65 - 10 - 27.5 and 65 - 12 - 27.5
    for capacity, left in (((240.0, 240.0), 27.5), ((55.0, 240.0), 25.5), ((55.0, 55.0), 0.0)):
        game = nashgrid.game("oligopoly-v0", capacity_mwh=capacity)
        scenario = game.draw(SEEDS)
        actions = game.action(scenario, np.full((3, 2, 1), 55.0))
        np.testing.assert_allclose(baselines.kkt_residual(game, scenario, actions), left, atol=1e-9)
    game = nashgrid.game("oligopoly-v0")
    scenario = game.draw(SEEDS)
    nothing = game.action(scenario, np.zeros((3, 2, 1)))
    np.testing.assert_allclose(baselines.kkt_residual(game, scenario, nothing), 110.0)
    # beyond capacity to sell at a profit: 240 each, price -120, both would go down
    everything = game.action(scenario, np.full((3, 2, 1), 240.0))
    np.testing.assert_allclose(baselines.kkt_residual(game, scenario, everything), 252.0)


def test_golden_table_of_four_firms_with_capacities_and_quadratic_costs():
    nash = solved("four-firms", "nash")
    # only firm_0 is at its capacity; the three others solve (0.5 + d_i) q_i = 120 - c_i - Q / 2
    total = (30 + 108 / 0.6 + 106 / 0.7 + 100 / 0.5) / (1 + 0.5 / 0.6 + 0.5 / 0.7 + 1)
    rest = (np.array([108, 106, 100]) - 0.5 * total) / np.array([0.6, 0.7, 0.5])
    np.testing.assert_allclose(outputs_of(nash)[0], [30, *rest], rtol=1e-12)
    np.testing.assert_allclose(outputs_of(nash)[0, 1:], [48.12081, 38.38926, 41.74497], atol=5e-6)
    np.testing.assert_allclose(nash.details["price_eur_per_mwh"][0], 40.87248, atol=5e-6)
    np.testing.assert_allclose(nash.payoffs[0].sum(), 3955.323, atol=5e-4)
    np.testing.assert_allclose(nash.welfare[0], 10216.487, atol=5e-4)
    best = solved("four-firms", "competitive")
    np.testing.assert_allclose(outputs_of(best)[0], [30, 60, 310 / 7, 60], rtol=1e-12)
    np.testing.assert_allclose(best.welfare[0], 10661.429, atol=5e-4)
    cartel = solved("four-firms", "cartel")
    np.testing.assert_allclose(outputs_of(cartel)[0], [30, 55, 17.5, 0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(cartel.payoffs[0].sum(), 5660, rtol=1e-12)


def test_price_of_anarchy_of_the_duopoly():
    best = solved("stackelberg", "competitive").welfare[0]
    assert best / solved("stackelberg", "nash").welfare[0] == pytest.approx(1.1453, abs=5e-5)
    assert best / solved("stackelberg").welfare[0] == pytest.approx(1.0792, abs=5e-5)


@pytest.mark.parametrize(
    ("changes", "outputs", "profits"),
    [
        ({"marginal_cost": (12.0, 10.0)}, (106, 57), (2809, 1624.5)),
        ({"capacity_mwh": (100.0, 240.0)}, (100, 58), (3100, 1682)),
        # the branch with the follower at its capacity wins, away from the kink at 136
        ({"capacity_mwh": (240.0, 40.0)}, (90, 40), (4050, 1720)),
        (
            {
                "firms": 3,
                "marginal_cost": (10.0, 12.0, 14.0),
                "cost_slope": (0.0,) * 3,
                "capacity_mwh": (240.0,) * 3,
            },
            (116, 104 / 3, 92 / 3),
            (6728 / 3, 0.5 * (104 / 3) ** 2, 0.5 * (92 / 3) ** 2),
        ),
    ],
)
def test_golden_leaders(changes, outputs, profits):
    reference = solved("stackelberg", **changes)
    np.testing.assert_allclose(outputs_of(reference)[0], outputs, rtol=1e-12)
    np.testing.assert_allclose(reference.payoffs[0], profits, rtol=1e-12)


def test_a_leader_meets_the_capped_followers_reply_everywhere():
    game = nashgrid.game("oligopoly-v0", "stackelberg", capacity_mwh=(240.0, 40.0))
    scenario = game.draw(SEEDS)
    leader = np.array([112.0, 136.0, 200.0])
    profile = np.stack([leader, stackelberg.reply(scenario, leader)[:, 0]], axis=1)
    np.testing.assert_allclose(profile[:, 1], [40, 40, 8], rtol=1e-12)
    np.testing.assert_allclose(profit_eur(profile, scenario)[:2, 0], [3808, 2992], rtol=1e-12)


# ----- gaps -----


@pytest.mark.parametrize(
    ("outputs", "gaps"), [((55, 55), (378.125, 325.125)), ((112, 52), (392, 0))]
)
def test_golden_gaps_of_simultaneous_play(outputs, gaps):
    game = nashgrid.game("oligopoly-v0")
    scenario = game.draw(SEEDS)
    actions = game.action(scenario, np.array([outputs] * 3, dtype=float)[..., None])
    response = baselines.best_response(game, scenario, actions)
    np.testing.assert_allclose(response.gap, [gaps] * 3, rtol=1e-11, atol=1e-9)
    np.testing.assert_array_equal(response.gap, response.gap_bound)
    assert response.label == "exact" and not response.failed.any()


def uniform_gap(preset):
    """Exact NashConv of independent uniform play from its moments, mean K/2 and variance K^2/12.

    With B = b + d/2, A = a - c - b (sum of the other means) and r = clip(A / 2B, 0, K):
    gap = A (r - m) - B (r^2 - m^2 - s^2).
    """
    game = nashgrid.game("oligopoly-v0", preset)
    a, b = game.intercept, game.slope
    total = 0.0
    capacity = np.array(game.capacity_mwh)
    for i in range(game.firms):
        m, variance = capacity[i] / 2, capacity[i] ** 2 / 12
        curve = b + game.cost_slope[i] / 2
        margin = a - game.marginal_cost[i] - b * (capacity.sum() / 2 - m)
        r = np.clip(margin / (2 * curve), 0.0, capacity[i])
        total += margin * (r - m) - curve * (r**2 - m**2 - variance)
    return total


@pytest.mark.parametrize(
    ("preset", "published"), [("duopoly", 9842), ("triopoly", 33120), ("four-firms", 2765.104)]
)
def test_uniform_play_has_the_published_gap(preset, published):
    assert uniform_gap(preset) == pytest.approx(published, abs=6e-4)
    game = nashgrid.game("oligopoly-v0", preset)
    scenario = game.draw(np.arange(1, dtype=np.uint64))
    noise = uniform(np.arange(20_000, dtype=np.uint64), 7, game.firms)
    samples = (2.0 * noise - 1.0)[:, None, :, None]
    response = baselines.best_response_executed(game, scenario, samples)
    assert response.gap.sum() == pytest.approx(published, rel=0.02)


def test_the_gap_of_sampled_play_equals_the_moment_formula():
    game = nashgrid.game("oligopoly-v0", "four-firms")
    scenario = game.draw(SEEDS)
    noise = uniform(np.arange(64 * 3, dtype=np.uint64), 9, 4).reshape(64, 3, 4)
    samples = (1.6 * noise - 0.9)[..., None]
    response = baselines.best_response_executed(game, scenario, samples)
    q = game.quantity(scenario, samples)[..., 0]
    mean, variance = q.mean(axis=0), q.var(axis=0)
    curve = scenario.slope[:, None] + scenario.cost_slope / 2
    others = mean.sum(axis=1, keepdims=True) - mean
    margin = 120.0 - scenario.marginal_cost - 0.5 * others
    r = np.clip(margin / (2 * curve), 0.0, scenario.capacity_mwh)
    formula = margin * (r - mean) - curve * (r**2 - mean**2 - variance)
    np.testing.assert_allclose(response.gap, formula, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(response.quantity[..., 0], r, rtol=1e-12)


def test_one_sample_is_the_deterministic_gap():
    game = nashgrid.game("oligopoly-v0", "drawn")
    scenario = game.draw(SEEDS)
    actions = np.array([0.3, -0.2, 0.9])[None, :, None] * np.ones((3, 1, 1))
    one = baselines.best_response_executed(game, scenario, actions[None])
    exact = baselines.best_response(game, scenario, actions)
    np.testing.assert_allclose(one.gap, exact.gap, rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(one.value, exact.value, rtol=1e-11, atol=1e-9)


def test_no_output_played_through_the_game_beats_the_best_response():
    game = nashgrid.game("oligopoly-v0", "drawn")
    scenario = game.draw(np.arange(20, dtype=np.uint64))
    base = 2.0 * uniform(np.arange(20, dtype=np.uint64), 3, 3)[..., None] - 1.0
    response = baselines.best_response(game, scenario, base)
    for firm in range(3):
        for own in np.linspace(-1.0, 1.0, 201):
            tried = base.copy()
            tried[:, firm] = own
            rewards = game.step(scenario, game.initial(scenario), tried).rewards[:, firm]
            assert (rewards <= response.bound[:, firm] + 1e-9).all()
        tried = base.copy()
        best = np.repeat(response.quantity[:, firm : firm + 1], 3, axis=1)
        tried[:, firm] = game.action(scenario, best)[:, firm]
        rewards = game.step(scenario, game.initial(scenario), tried).rewards[:, firm]
        np.testing.assert_allclose(rewards, response.achieved[:, firm], rtol=1e-10, atol=1e-8)


# ----- independent solvers -----

firms = st.integers(1, 5)
share = st.floats(0.0, 1.0, allow_nan=False)


@st.composite
def markets(draw, leader=False):
    n = draw(st.integers(2, 5)) if leader else draw(firms)
    numbers = [[draw(share) for _ in range(n)] for _ in range(3)]
    flat = draw(st.sets(st.integers(0, n - 1)))  # these firms have no cost slope
    equal = draw(st.booleans())
    cost = [10.0 + 40.0 * (numbers[0][0] if equal else x) for x in numbers[0]]
    return nashgrid.game(
        "oligopoly-v0",
        firms=n,
        order="sequential" if leader else "simultaneous",
        intercept=5.0 + 145.0 * draw(share),
        slope=0.2 + 1.8 * draw(share),
        marginal_cost=tuple(cost),
        cost_slope=tuple(0.0 if i in flat else 0.01 + x for i, x in enumerate(numbers[1])),
        capacity_mwh=tuple(1.0 + 150.0 * x for x in numbers[2]),
    )


def by_interior_point(p):
    """Maximum of the program of one copy by Clarabel's interior point method."""
    n = p.gain.shape[1]
    hessian = np.diag(p.bend[0]) + p.slope[0]
    box = sparse.csc_matrix(np.vstack([np.eye(n), -np.eye(n)]))
    limits = np.concatenate([p.capacity_mwh[0], np.zeros(n)])
    options = clarabel.DefaultSettings()
    options.verbose = False
    solution = clarabel.DefaultSolver(
        sparse.csc_matrix(np.triu(hessian)),
        -p.gain[0],
        box,
        limits,
        [clarabel.NonnegativeConeT(2 * n)],
        options,
    ).solve()
    return -solution.obj_val


@settings(max_examples=60, deadline=None, derandomize=True)
@given(markets(), st.sampled_from(["nash", "competitive", "cartel"]))
def test_programs_agree_with_an_interior_point_solver(game, concept):
    program = cournot.program(game.draw(SEEDS[:1]), concept)
    q = cournot.maximiser(program)
    reached = cournot.objective(program, q)[0]
    scale = 1.0 + abs(reached)
    assert reached == pytest.approx(by_interior_point(program), abs=1e-5 * scale)
    lam = program.slope * q.sum(axis=1)
    assert abs(cournot.dual_bound(program, lam)[0] - reached) <= 1e-12 * scale * game.firms
    assert cournot.complementarity_eur(program, q).max() <= 1e-11 * scale


@settings(max_examples=60, deadline=None, derandomize=True)
@given(markets())
def test_order_of_the_outcomes(game):
    scenario = game.draw(SEEDS[:1])
    nash, best, cartel = (
        baselines.solve(game, scenario, s) for s in ("nash", "competitive", "cartel")
    )
    for reference in (nash, best, cartel):
        assert reference.certificate.holds.all()
        assert (outputs_of(reference) >= 0.0).all()
        assert (outputs_of(reference) <= scenario.capacity_mwh).all()
    slack = 1e-9 * game.payoff_scale
    assert best.welfare[0] >= nash.welfare[0] - slack
    assert nash.welfare[0] >= -slack
    assert best.welfare[0] >= cartel.welfare[0] - slack
    assert cartel.payoffs.sum() >= nash.payoffs.sum() - slack


@settings(max_examples=40, deadline=None, derandomize=True)
@given(markets())
def test_nash_is_where_taking_turns_at_best_replies_ends(game):
    scenario = game.draw(SEEDS[:1])
    q = np.zeros((1, game.firms))
    for _ in range(2000):
        before = q.copy()
        for i in range(game.firms):
            q[:, i] = cournot.best_output(scenario, q.sum(axis=1, keepdims=True) - q)[:, i]
        if np.abs(q - before).max() < 1e-13:
            break
    nash = outputs_of(baselines.solve(game, scenario, "nash"))
    np.testing.assert_allclose(nash, q, rtol=1e-8, atol=1e-8)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(markets(leader=True))
def test_no_output_of_the_leader_beats_the_best_piece(game):
    scenario = game.draw(SEEDS[:1])
    reference = baselines.solve(game, scenario)
    assert reference.certificate.holds.all()

    def profit(rows, leader):
        rows = take(scenario, rows)
        return profit_eur(
            np.concatenate([leader[:, None], stackelberg.reply(rows, leader)], axis=1), rows
        )[:, 0]

    tolerance = np.array([1e-9 * game.payoff_scale])
    _, achieved, bound = maximise_interval(
        profit, np.zeros(1), scenario.capacity_mwh[:, 0], tolerance
    )
    assert achieved[0] - 1e-10 * game.payoff_scale <= reference.payoffs[0, 0]
    assert reference.payoffs[0, 0] <= bound[0] + 1e-10 * game.payoff_scale


@settings(max_examples=40, deadline=None, derandomize=True)
@given(markets(leader=True), share)
def test_followers_reply_is_nash_among_them(game, leader_share):
    scenario = game.draw(SEEDS[:1])
    leader = leader_share * scenario.capacity_mwh[:, 0]
    profile = np.concatenate([leader[:, None], stackelberg.reply(scenario, leader)], axis=1)
    gap = cournot.response_to(scenario, profile).gap
    assert gap[:, 1:].max() <= 1e-12 * game.payoff_scale


def test_equal_firms_without_bend_share_in_proportion_to_capacity():
    game = nashgrid.game("oligopoly-v0", marginal_cost=(20.0, 20.0), capacity_mwh=(100.0, 300.0))
    reference = nashgrid.solve(game, game.draw(SEEDS), "competitive")
    np.testing.assert_allclose(outputs_of(reference), [[50.0, 150.0]] * 3, rtol=1e-12)


def test_firms_that_cannot_sell_stay_out():
    game = nashgrid.game("oligopoly-v0", intercept=10.0, marginal_cost=(10.0, 12.0))
    for solver in baselines.solvers(game):
        assert not nashgrid.solve(game, game.draw(SEEDS), solver).profile.any()


def test_many_firms_have_the_closed_form():
    # n equal firms: q = (a - c) / ((n + 1) b)
    n = 300
    game = nashgrid.game(
        "oligopoly-v0",
        firms=n,
        marginal_cost=(10.0,) * n,
        cost_slope=(0.0,) * n,
        capacity_mwh=(240.0,) * n,
    )
    reference = nashgrid.solve(game, game.draw(SEEDS))
    np.testing.assert_allclose(outputs_of(reference), 110.0 / (301 * 0.5), rtol=1e-12)


def test_copies_do_not_influence_each_other():
    for preset in ("drawn", "four-firms"):
        for order in ("simultaneous", "sequential"):
            game = nashgrid.game("oligopoly-v0", preset, order=order)
            scenario = game.draw(np.arange(7, dtype=np.uint64))
            for solver in baselines.solvers(game):
                whole = oligopoly.solve(game, scenario, solver)
                for row in range(7):
                    one = oligopoly.solve(game, take(scenario, np.array([row])), solver)
                    np.testing.assert_array_equal(one.profile[0], whole.profile[row])
                    assert one.certificate.gap[0] == whole.certificate.gap[row]


# ----- certificates -----


@pytest.mark.parametrize("preset", ["duopoly", "triopoly", "four-firms", "drawn", "stackelberg"])
@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_profile_moved_by_5_percent_fails_its_certificate(preset, factor):
    game = nashgrid.game("oligopoly-v0", preset)
    scenario = game.draw(SEEDS)
    for solver in baselines.solvers(game):
        profile = outputs_of(baselines.solve(game, scenario, solver))
        assert oligopoly.certificate(game, scenario, solver, profile).holds.all()
        for firm in range(game.firms):
            moved = profile.copy()
            moved[:, firm] *= factor
            changed = moved[:, firm] != profile[:, firm]
            holds = oligopoly.certificate(game, scenario, solver, moved).holds
            assert not holds[changed].any(), (solver, firm)


# ----- replay through the environment -----


@pytest.mark.parametrize("preset", ["duopoly", "triopoly", "four-firms", "drawn"])
def test_the_reference_replayed_has_no_gap(preset):
    game = nashgrid.game("oligopoly-v0", preset)
    copies = Copies(game, 16)
    copies.reset(seed=3)
    scenario = copies.scenario
    policy = baselines.reference_policy(game)
    actions = policy(game, scenario, copies.state, copies.observe())
    gap = baselines.best_response(game, scenario, actions).gap
    assert gap.max() <= 1e-9 * game.payoff_scale
    step = copies.step(actions)
    reference = baselines.solve(game, scenario)
    np.testing.assert_allclose(step.rewards, reference.payoffs, rtol=1e-9)
    np.testing.assert_allclose(step.metrics["welfare_eur"], reference.welfare, rtol=1e-12)


def drawn_leader():
    return nashgrid.game("oligopoly-v0", "drawn", order="sequential")


@pytest.mark.parametrize(
    "make", [lambda: nashgrid.game("oligopoly-v0", "stackelberg"), drawn_leader]
)
def test_the_policy_of_the_leader_game_is_subgame_perfect(make):
    game = make()
    scenario = game.draw(np.arange(8, dtype=np.uint64))
    policy = baselines.reference_policy(game)
    found = oligopoly.subgame_gap(game, scenario, policy, leader_grid=61)
    assert found.spe_gap.max() <= 1e-9 * game.payoff_scale
    reference = baselines.solve(game, scenario)
    np.testing.assert_allclose(found.profile, outputs_of(reference), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.payoffs, reference.payoffs, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.step_mwh, scenario.capacity_mwh[:, 0] / 60)


def test_committed_nash_outputs_are_an_equilibrium_but_not_a_subgame_perfect_one():
    game = nashgrid.game("oligopoly-v0", "stackelberg")
    scenario = game.draw(SEEDS)
    found = oligopoly.subgame_gap(game, scenario, baselines.reference_policy(game, "nash"))
    assert found.on_path.max() <= 1e-9 * game.payoff_scale
    # worst after an output of 240: the reply to it is 0, playing 212/3 loses b (212/3)^2 + 12 ...
    # u_b(q) = (108 - 120 - q/2) q at q = 212/3 against 0 at q = 0
    loss = (12.0 + 212 / 6) * 212 / 3
    np.testing.assert_allclose(found.spe_gap, loss, rtol=1e-12)


def test_the_leaders_deviation_gain_lets_the_follower_react():
    game = nashgrid.game("oligopoly-v0", "stackelberg")
    scenario = game.draw(SEEDS)

    def half(game, scenario, state, observation):
        """The leader plays 60; the follower always plays half of what it saw."""
        seen = state.q_mwh[:, :1]
        return game.action(
            scenario, np.concatenate([60.0 + 0 * seen, 0.5 * seen], axis=1)[..., None]
        )

    found = oligopoly.subgame_gap(game, scenario, half)
    # u_a = (110 - 0.75 q) q: best 220/3, worth 110^2 / 3; at 60 it is 3900
    np.testing.assert_allclose(found.on_path[:, 0], 110**2 / 3 - 3900, rtol=1e-6)
    np.testing.assert_allclose(found.leader_mwh, 220 / 3, atol=0.01)
    # the follower's gain b (q_b - R(q_a))^2 at q_a = 60: R = 78 against 30 played
    np.testing.assert_allclose(found.on_path[:, 1], 0.5 * 48**2, rtol=1e-11)


def test_subgame_gaps_need_a_leader_and_a_grid():
    game = nashgrid.game("oligopoly-v0")
    policy = baselines.reference_policy(game)
    with pytest.raises(ValueError, match="no leader"):
        oligopoly.subgame_gap(game, game.draw(SEEDS), policy)
    game = nashgrid.game("oligopoly-v0", "stackelberg")
    with pytest.raises(ValueError, match="leader_grid = 2"):
        oligopoly.subgame_gap(game, game.draw(SEEDS), policy, leader_grid=2)
