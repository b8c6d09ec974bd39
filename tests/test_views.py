"""PettingZoo and Gymnasium views: AEC against parallel, turns, masks, single seats, vectors."""

import pickle
import warnings

import gymnasium
import numpy as np
import pettingzoo
import pytest
from small_game import HaulGame, RaftGame

import nashgrid
from nashgrid.envs.core.discretised import Discretised
from nashgrid.envs.core.seats import Seats

LEAD = {"preset": "stackelberg"}


def zero(game, scenario, state, observation):
    shape = (state.t.shape[0], game.n_agents, game.action_size)
    return np.zeros(shape) if game.is_continuous else np.zeros(shape, int)


def follower(game, scenario, state, observation):
    """firm_1's exact reply in the duopoly: q = 108 - q_a / 2."""
    reply = 108.0 - 0.5 * state.q_mwh[:, 0]
    quantity = np.stack([np.full_like(reply, 112.0), reply], axis=1)
    return game.action(scenario, quantity[..., None])


def test_pettingzoo_registry_makes_every_game():
    for id in nashgrid.envs.ids():
        parallel = pettingzoo.make("parallel", f"nashgrid/{id}")
        aec = pettingzoo.make("aec", f"nashgrid/{id}")
        assert parallel.possible_agents == aec.possible_agents
        rounds = nashgrid.game(id).horizon
        named = pettingzoo.make("parallel", f"nashgrid/{id}", max_cycles=rounds)
        assert named.max_cycles == rounds
    with pytest.raises(ValueError, match="max_cycles = 9: the horizon is a rule"):
        pettingzoo.make("parallel", "nashgrid/oligopoly-v0", max_cycles=9)


def test_classic_modules_offer_env_raw_env_and_parallel_env():
    for id in nashgrid.envs.ids():
        module = getattr(nashgrid.envs, id.replace("-", "_"))
        assert module.parallel_env().possible_agents == module.raw_env().possible_agents
        assert module.__doc__.count("**") >= 16  # the sections of a page
    module = nashgrid.envs.oligopoly_v0
    assert module.parallel_env().metadata["name"] == "oligopoly_v0"
    env = module.env()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env.reset(seed=0)
        env.step(np.array([5.0], dtype=np.float32))  # clipped by the wrapper
    assert env.agent_selection == "firm_1"
    assert isinstance(module.raw_env(), pettingzoo.AECEnv)


@pytest.mark.parametrize(
    "game",
    [
        nashgrid.game("oligopoly-v0"),
        nashgrid.game("oligopoly-v0", "stackelberg"),
        RaftGame(),
        HaulGame(),
        Discretised(nashgrid.game("oligopoly-v0", "drawn"), 5),
    ],
    ids=["at once", "leader", "raft", "haul", "grid"],
)
def test_aec_and_parallel_play_the_same_game(game):
    parallel, aec = nashgrid.make(game), nashgrid.make_aec(game)
    parallel.reset(seed=4)
    aec.reset(seed=4)
    paid = {"parallel": dict.fromkeys(game.agents, 0.0), "aec": dict.fromkeys(game.agents, 0.0)}
    spaces = {agent: parallel.action_space(agent) for agent in game.agents}
    for k, space in enumerate(spaces.values()):
        space.seed(k)
    while parallel.agents:
        actions = {agent: space.sample() for agent, space in spaces.items()}
        played = aec.game_state.t[0]
        while aec.game_state.t[0] == played:
            agent = aec.agent_selection
            paid["aec"][agent] += aec.last()[1]  # since this agent's last move
            aec.step(actions[agent])
        observations, rewards, terminations, truncations, infos = parallel.step(actions)
        for agent in game.agents:
            paid["parallel"][agent] += rewards[agent]
            both = (aec.infos[agent], infos[agent])
            masks = [np.hstack([[], *info.pop("action_mask", ())]) for info in both]
            assert aec.infos[agent] == infos[agent] and np.array_equal(*masks)
            assert (aec.observe(agent) == observations[agent]).all()
        assert not any(truncations.values())
    assert all(aec.terminations.values())
    for agent in aec.agent_iter():
        paid["aec"][agent] += aec.last()[1]
        aec.step(None)
    assert paid["aec"] == pytest.approx(paid["parallel"])


def test_follower_sees_the_leader_and_the_leader_moves_first():
    env = nashgrid.make_aec("oligopoly-v0", **LEAD)
    env.reset(seed=0)
    assert env.agent_selection == "firm_0"
    before = env.observe("firm_1")
    env.step(np.array([2 * 112 / 240 - 1]))
    assert env.agent_selection == "firm_1"
    assert env.infos["firm_0"]["acting"] == 0.0 and env.infos["firm_1"]["acting"] == 1.0
    assert before[-2] == -1.0 and env.observe("firm_1")[-2] == np.float32(2 * 112 / 240 - 1)
    env.step(np.array([2 * 52 / 240 - 1]))
    # published Stackelberg outcome of this duopoly: profits 3136 and 1352
    assert env.rewards == pytest.approx({"firm_0": 3136.0, "firm_1": 1352.0})


def test_simultaneous_aec_hides_moves_of_the_same_round():
    env = nashgrid.make_aec("oligopoly-v0")
    env.reset(seed=0)
    before = env.observe("firm_1")
    env.step(np.array([1.0]))
    assert (env.observe("firm_1") == before).all()


def test_seat_of_the_leader_skips_the_followers_round():
    env = nashgrid.make_seat("oligopoly-v0", "firm_0", follower, "stackelberg")
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(np.array([2 * 112 / 240 - 1]))
    assert terminated and not truncated
    assert reward == pytest.approx(3136.0)
    assert info["quantity_mwh"] == pytest.approx(112.0)
    assert info["price_eur_per_mwh"] == pytest.approx(38.0)


def test_seat_of_the_follower_starts_after_the_leader():
    env = nashgrid.make_seat("oligopoly-v0", "firm_1", follower, "stackelberg")
    observation, _ = env.reset(seed=0)
    assert observation[-2] == np.float32(2 * 112 / 240 - 1)
    assert env.step(np.array([2 * 52 / 240 - 1]))[1] == pytest.approx(1352.0)


def test_seats_in_a_batch_play_as_single_seats_do_when_episodes_end_at_unlike_times():
    game = RaftGame()
    batch = Seats(game, 6, ["carrier_1"], zero)
    batch.start(20)
    singles = [Seats(game, 1, ["carrier_1"], zero) for _ in range(6)]
    for c, single in enumerate(singles):
        single.start(20 + c)
    ends = 0
    for k in range(12):
        choices = np.array([[[(k + c) % 4]] for c in range(6)])
        rewards, over, metrics = batch.play(choices)
        for c, single in enumerate(singles):
            r, o, m = single.play(choices[c : c + 1])
            assert r[0].tolist() == rewards[c].tolist() and o[0] == over[c]
            assert all(m[name][0].tolist() == metrics[name][c].tolist() for name in m)
            single.again(o)
        ends += int(over.sum())
        batch.again(over)
        seen = batch.observe()
        assert all((s.observe()[0] == seen[c]).all() for c, s in enumerate(singles))
    assert 6 < ends < 72


def test_seats_without_a_policy_for_the_others_say_who_is_missing():
    game = nashgrid.game("oligopoly-v0", "triopoly")
    with pytest.raises(ValueError, match="no policy plays firm_1, firm_2"):
        Seats(game, 1, ["firm_0"])
    with pytest.raises(ValueError, match="no policy plays firm_2"):
        Seats(game, 1, ["firm_0"], {"firm_1": zero})
    with pytest.raises(ValueError, match="did you mean 'firm_0'"):
        Seats(game, 1, ["firm0"], zero)
    with pytest.raises(ValueError, match="did you mean 'firm_2'"):
        Seats(game, 1, "firm_0", {"firm_1": zero, "firm_22": zero})
    with pytest.raises(ValueError, match="3 is not a policy"):
        Seats(game, 1, ["firm_0"], {"firm_1": zero, "firm_2": 3})

    def short(game, scenario, state, observation):
        return np.zeros((state.t.shape[0], 1, 1))

    with pytest.raises(ValueError, match=r"policy short: actions have shape \(1, 1, 1\)"):
        env = nashgrid.make_seat(game, "firm_0", short)
        env.reset(seed=0)
        env.step(np.zeros(1))


def test_masks_are_in_the_infos_or_in_the_observation():
    env = nashgrid.make(RaftGame())
    _, infos = env.reset(seed=3)
    assert infos["carrier_0"]["action_mask"].tolist() == [1, 1, 1, 1]
    _, _, _, _, infos = env.step({"carrier_0": 2})
    assert infos["carrier_0"]["action_mask"].tolist() == [1, 1, 0, 1]
    env = nashgrid.make(RaftGame(), mask_in_observation=True)
    observations, _ = env.reset(seed=3)
    assert env.observation_space("carrier_0").contains(observations["carrier_0"])
    seat = nashgrid.make_seat(RaftGame(), "carrier_0", zero)
    seat.reset(seed=3)
    assert seat.action_masks().tolist() == [True] * 4


def test_clipped_actions_are_counted_once_by_both_views():
    for env in (nashgrid.make("oligopoly-v0"), nashgrid.make_aec("oligopoly-v0")):
        env.reset(seed=0)
        if isinstance(env, pettingzoo.ParallelEnv):
            env.step({"firm_0": np.array([2.0]), "firm_1": np.array([0.5])})
        else:
            env.step(np.array([2.0]))
            env.step(np.array([0.5]))
        assert env.clipped == 1


def test_choices_that_are_not_whole_are_refused():
    env = nashgrid.make(RaftGame())
    env.reset(seed=0)
    with pytest.raises(ValueError, match="whole numbers"):
        env.step({"carrier_0": 1.7})
    seat = nashgrid.make_seat(RaftGame(), "carrier_0", zero)
    seat.reset(seed=0)
    with pytest.raises(ValueError, match="whole numbers"):
        seat.step(1.7)


def test_a_seat_says_what_action_it_takes():
    seat = nashgrid.make_seat("oligopoly-v0", "firm_0", zero)
    seat.reset(seed=0)
    with pytest.raises(ValueError, match=r"action has shape \(3,\); oligopoly-v0 takes \(1,\)"):
        seat.step(np.zeros(3))


def test_views_say_so_before_the_first_reset():
    for env in (nashgrid.make(RaftGame()), nashgrid.make_aec(RaftGame())):
        with pytest.raises(RuntimeError, match="reset"):
            env.state()
    with pytest.raises(RuntimeError, match="reset"):
        nashgrid.make_aec(RaftGame()).step(0)


def test_parallel_names_missing_and_unknown_agents():
    env = nashgrid.make("oligopoly-v0")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="no action for firm_1"):
        env.step({"firm_0": np.zeros(1)})
    with pytest.raises(ValueError, match="did you mean 'firm_0'"):
        env.step({"firm_00": np.zeros(1)})


def test_environments_survive_pickling_in_the_middle_of_an_episode():
    for env in (nashgrid.make(RaftGame()), nashgrid.make_aec(RaftGame())):
        env.reset(seed=2)
        twin = pickle.loads(pickle.dumps(env))
        if isinstance(env, pettingzoo.ParallelEnv):
            ours, theirs = env.step({"carrier_0": 1}), twin.step({"carrier_0": 1})
            assert ours[1] == theirs[1]
        else:
            env.step(1)
            twin.step(1)
            assert (env.observe("carrier_1") == twin.observe("carrier_1")).all()


# ----- gymnasium vector environments -----


def test_vector_env_resets_in_the_same_step_and_keeps_the_final_observation():
    env = nashgrid.make_vec("oligopoly-v0", "drawn", copies=3, api="gymnasium", seed=9)
    assert isinstance(env, gymnasium.vector.VectorEnv)
    first, infos = env.reset()
    assert first.shape == (9, 14) and infos["_price_eur_per_mwh"].all()
    second, rewards, done, cut, infos = env.step(np.zeros((9, 1), dtype=np.float32))
    assert done.all() and not cut.any()
    assert (infos["final_obs"][4][:-1] == first[4][:-1]).all()  # same scenario, no time left
    assert infos["final_obs"][4][-1] == -1.0 and second[4][-1] == 1.0
    assert (second != first).any()
    assert (infos["final_info"]["profit_eur"] == rewards).all()
    assert not infos["profit_eur"].any()


def test_vector_env_resets_in_the_next_step_when_asked():
    game = RaftGame()
    make = {"copies": 4, "api": "gymnasium", "seed": 6}
    same = nashgrid.make_vec(game, **make)
    later = nashgrid.make_vec(game, autoreset="next-step", **make)
    assert later.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.NEXT_STEP
    assert (same.reset()[0] == later.reset()[0]).all()
    total = {"same": 0.0, "later": 0.0}
    episodes = {"same": 0, "later": 0}
    over = np.zeros(12, dtype=bool)
    for _ in range(40):
        seen, rewards, done, _, infos = later.step(np.full(12, 1))
        assert not rewards[over].any() and not done[over].any()
        total["later"] += rewards.sum()
        episodes["later"] += int(done.sum())
        over = done
    for _ in range(40):
        _, rewards, done, _, infos = same.step(np.full(12, 1))
        total["same"] += rewards.sum()
        episodes["same"] += int(done.sum())
    assert 0 < episodes["later"] < episodes["same"]


def test_one_seat_vector_rows_match_single_seats():
    env = nashgrid.make_vec(
        "oligopoly-v0", "drawn", copies=4, api="gymnasium", seats=["firm_1"], others=zero, seed=5
    )
    observation, _ = env.reset()
    _, rewards, *_ = env.step(np.full((4, 1), 0.3))
    for c in range(4):
        single = nashgrid.make_seat("oligopoly-v0", "firm_1", zero, "drawn")
        assert (single.reset(seed=5 + c)[0] == observation[c]).all()
        assert single.step(np.array([0.3]))[1] == rewards[c]
