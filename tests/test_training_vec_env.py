"""The VecEnv of Stable-Baselines3: rows, resets, infos, masks, and training that repeats itself."""

import pickle
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from small_game import RaftGame
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

import nashgrid
from nashgrid.envs.core.contract import take
from nashgrid.envs.core.copies import Copies, episode_seeds
from nashgrid.training.vec_env import SharedPolicyVecEnv


def two_crates(game, scenario, state, observation):
    return np.full((observation.shape[0], 3, 1), 2)


def raft(copies=5, **options):
    return SharedPolicyVecEnv(
        RaftGame(), copies, seats=("carrier_1", "carrier_2"), others=two_crates, **options
    )


def play(env, steps, seed):
    env.seed(seed)
    seen = [env.reset()]
    rows = np.arange(env.num_envs)
    for t in range(steps):
        if hasattr(env.action_space, "n"):
            actions = (rows + t) % env.action_space.n
        else:
            actions = np.sin(rows + t)[:, None].astype(np.float32)
        seen.extend(env.step(actions)[:3])
    return seen


@pytest.mark.parametrize(
    "make",
    [
        lambda: SharedPolicyVecEnv(nashgrid.game("oligopoly-v0", "drawn"), 7),
        raft,
    ],
)
def test_equal_seeds_give_equal_bits_also_in_copies_of_the_environment(make):
    first = play(make(), 9, seed=3)
    second = play(deepcopy(make()), 9, seed=3)
    third = play(pickle.loads(pickle.dumps(make())), 9, seed=3)
    other = play(make(), 9, seed=4)
    for a, b, c in zip(first, second, third, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_rows_are_copies_times_seats_in_order():
    game = nashgrid.game("oligopoly-v0", "drawn")
    env = SharedPolicyVecEnv(game, 4, reward_scale=0.5)
    env.seed(11)
    observation = env.reset()
    roots = np.arange(11, 15, dtype=np.uint64)
    scenario = game.draw(episode_seeds(roots, np.zeros(4, dtype=np.uint64)))
    state = game.initial(scenario)
    np.testing.assert_array_equal(
        observation, game.observe(scenario, state).reshape(12, game.n_features)
    )
    actions = np.linspace(-1, 1, 12, dtype=np.float32)[:, None]
    _, rewards, dones, _ = env.step(actions)
    q = (actions[:, 0].reshape(4, 3).astype(float) + 1) / 2 * scenario.capacity_mwh
    price = scenario.intercept - scenario.slope * q.sum(axis=1)
    profit = (price[:, None] - scenario.marginal_cost - scenario.cost_slope * q / 2) * q
    np.testing.assert_allclose(rewards, 0.5 * profit.ravel(), rtol=1e-6)
    assert rewards.dtype == np.float32 and observation.dtype == np.float32
    assert dones.all() and dones.dtype == bool


def test_an_ended_copy_restarts_within_the_step_and_tells_its_last_observation():
    game = RaftGame()
    env = raft(copies=6)
    env.seed(0)
    env.reset()
    reference = Copies(game, 6)
    reference.reset(0)
    reference.step(np.full((6, 3, 1), 2))  # the round of carrier_0 alone
    ended_early = 0
    for t in range(12):
        actions = np.arange(12) * (t + 1) % 4
        joint = np.column_stack([np.full(6, 2), actions.reshape(6, 2)])
        step = reference.step(joint[..., None])
        last = reference.observe()[:, 1:].reshape(12, -1)
        observation, rewards, dones, infos = env.step(actions)
        np.testing.assert_array_equal(rewards, step.rewards[:, 1:].ravel().astype(np.float32))
        np.testing.assert_array_equal(dones, np.repeat(step.terminated, 2))
        for row in range(12):
            if dones[row]:
                np.testing.assert_array_equal(infos[row]["terminal_observation"], last[row])
                assert infos[row]["TimeLimit.truncated"] is False
            else:
                assert infos[row] == {}
        ended_early += int((step.terminated & (reference.state.t < game.horizon)).sum())
        reference.restart(step.terminated)
        alone = reference.state.t == 0
        if alone.any():  # the partner's round is skipped
            before = reference.state
            reference.step(np.full((6, 3, 1), 2))
            reference.put_back(~alone, take(before, ~alone))
        np.testing.assert_array_equal(observation, reference.observe()[:, 1:].reshape(12, -1))
    assert ended_early > 0


def test_what_was_handed_out_is_never_written_again():
    env = SharedPolicyVecEnv(nashgrid.game("oligopoly-v0", "drawn"), 3)
    env.seed(1)
    actions = np.zeros((9, 1), dtype=np.float32)
    handed = [env.reset()]
    kept = [handed[0].copy()]
    for _ in range(3):
        observation, rewards, dones, infos = env.step(actions)
        for array in (observation, rewards, dones, infos[0]["terminal_observation"]):
            handed.append(array)
            kept.append(array.copy())
    for a, b in zip(handed, kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_metrics_come_with_the_end_of_an_episode_when_asked_for():
    game = nashgrid.game("oligopoly-v0")
    env = SharedPolicyVecEnv(game, 2, metrics=True)
    env.seed(1)
    env.reset()
    infos = env.step(np.zeros((4, 1), dtype=np.float32))[3]
    # half of 240 MWh each: Q = 240, P = 120 - 0.5 * 240 = 0, profits -10 * 120 and -12 * 120
    assert infos[2]["price_eur_per_mwh"] == pytest.approx(0.0)
    assert infos[2]["profit_eur"] == pytest.approx(-1200.0)
    assert infos[3]["profit_eur"] == pytest.approx(-1440.0)


def test_masks_are_reachable_the_way_maskable_learners_ask_for_them():
    env = raft(copies=2)
    env.seed(5)
    env.reset()
    env.step(np.array([0, 1, 2, 3]))
    assert env.has_attr("action_masks")
    masks = np.stack(env.env_method("action_masks"))
    state = env.seats.state
    expected = np.arange(4) != state.last[:, 1:].reshape(4, 1)
    np.testing.assert_array_equal(masks, expected)
    np.testing.assert_array_equal(env.env_method("action_masks", indices=[2])[0], expected[2])
    continuous = SharedPolicyVecEnv(nashgrid.game("oligopoly-v0"), 2)
    assert not continuous.has_attr("action_masks")
    with pytest.raises(AttributeError, match="has continuous actions: no action_masks"):
        continuous.env_method("action_masks")


def test_choices_that_the_masks_allow_are_never_projected():
    def illegal(masked):
        env = VecMonitor(raft(copies=20, metrics=True))  # wrappers pass masks on
        env.seed(2)
        env.reset()
        count = 0.0
        for t in range(20):
            assert env.has_attr("action_masks") and len(env.get_attr("action_masks")) == 40
            masks = np.stack(env.env_method("action_masks"))
            assert masks.shape == (40, 4) and masks.dtype == bool
            wanted = (np.arange(40) // 2 + t // 2) % 4
            legal = np.where(masks[np.arange(40), wanted], wanted, masks.argmax(axis=1))
            infos = env.step(legal if masked else wanted)[3]
            count += sum(info.get("illegal", 0.0) for info in infos)
        return count

    assert illegal(masked=True) == 0.0
    assert illegal(masked=False) > 0.0


def test_seats_that_move_in_different_rounds_are_refused():
    game = nashgrid.game("oligopoly-v0", "stackelberg")
    with pytest.raises(ValueError, match="move in different rounds.*Give seats="):
        SharedPolicyVecEnv(game, 2)
    with pytest.raises(ValueError, match="move in different rounds"):
        SharedPolicyVecEnv(RaftGame(), 2)
    follower = SharedPolicyVecEnv(
        game, 2, seats=("firm_1",), others=lambda g, s, t, o: np.full((o.shape[0], 2, 1), -0.1)
    )
    follower.seed(1)
    observation = follower.reset()
    # firm_0 has moved: 0.45 * 240 = 108 MWh of at most 240 is -0.1 in its feature
    np.testing.assert_allclose(observation[:, -2], -0.1, atol=1e-6)
    rewards = follower.step(np.zeros((2, 1), dtype=np.float32))[1]
    np.testing.assert_allclose(rewards, (120 - 0.5 * 228 - 12) * 120, rtol=1e-6)


def test_bad_actions_are_refused_with_their_place():
    env = SharedPolicyVecEnv(nashgrid.game("oligopoly-v0"), 2)
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(3, 1\); 4 rows"):
        env.step(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="firm_1 in copy 1 is not finite"):
        env.step(np.array([[0.0], [0.0], [0.0], [np.nan]]))


@pytest.mark.parametrize("missing", ["torch", "stable_baselines3", "tensorboard"])
def test_a_missing_extra_is_named(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "import nashgrid\n"
        "try:\n"
        "    nashgrid.make_vec('oligopoly-v0')\n"
        "    from nashgrid.training import train\n"
        "except ImportError as error:\n"
        "    print(error.name, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"{missing} nashgrid.training needs the extra 'train', which brings {missing}: "
        "pip install 'nashgrid[train]'\n"
    )


def test_attributes_are_given_once_per_row():
    env = SharedPolicyVecEnv(nashgrid.game("oligopoly-v0"), 3)
    assert env.get_attr("reward_scale") == [1.0] * 6
    env.set_attr("reward_scale", 2.0)
    assert env.get_attr("reward_scale", [0, 1]) == [2.0, 2.0]
    with pytest.raises(ValueError, match="set it on all of them"):
        env.set_attr("reward_scale", 3.0, indices=[1])
    with pytest.raises(AttributeError):
        env.get_attr("no_such_thing")
    assert env.env_is_wrapped(VecMonitor, [0, 2]) == [False, False]


def test_ppo_of_stable_baselines_learns_the_same_bits_twice():
    def weights():
        env = VecMonitor(
            SharedPolicyVecEnv(nashgrid.game("oligopoly-v0", "drawn"), 16, reward_scale=1e-3)
        )
        model = PPO("MlpPolicy", env, n_steps=8, batch_size=64, n_epochs=2, seed=1, device="cpu")
        model.learn(1152)
        assert model.ep_info_buffer is not None and model.ep_info_buffer[0]["l"] == 1
        return model.policy.state_dict()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first, second = weights(), weights()
    finally:
        torch.set_num_threads(threads)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("id", nashgrid.envs.ids())
def test_one_agent_views_pass_the_check_of_stable_baselines(id):
    from stable_baselines3.common.env_checker import check_env

    game = nashgrid.game(id)
    env = nashgrid.make_seat(game, game.agents[0], nashgrid.policies.random(3))
    check_env(env, warn=True)  # warnings are errors here
    assert env.observation_space.shape == (game.n_features,)
