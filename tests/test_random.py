"""The counter hash: numba against its numpy twin, published vectors, independence."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nashgrid.envs.core import random as rng
from nashgrid.envs.core.copies import episode_seeds
from nashgrid.envs.core.random_kernels import mix64

seeds = st.integers(0, 2**64 - 1)


def test_mixing_step_gives_the_published_splitmix64_sequence():
    # First outputs of SplitMix64 with seed 1234567, as listed with the reference C code.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    mask = 2**64 - 1
    got = [int(mix64(np.uint64((1234567 + k * rng.GOLDEN) & mask))) for k in range(1, 6)]
    assert got == published


@settings(max_examples=50, deadline=None)
@given(st.lists(seeds, min_size=1, max_size=5), seeds, st.integers(1, 9))
def test_numba_and_numpy_draw_the_same_bits(values, stream, count):
    array = np.array(values, dtype=np.uint64)
    left = rng.uniform(array, stream, count)
    assert left.tobytes() == rng.uniform_numpy(array, stream, count).tobytes()
    assert ((left >= 0) & (left < 1)).all()


def test_streams_have_fixed_numbers_and_differ():
    assert rng.stream("episode") == rng.stream("episode")
    assert len({rng.stream(name) for name in ("a", "b", "episode", "market.draw")}) == 4


def test_uniform_numbers_look_uniform_and_uncorrelated():
    draws = rng.uniform(np.arange(50_000, dtype=np.uint64), rng.stream("test"), 4)
    # 200,000 draws: five standard errors of the mean and of the variance of U(0, 1)
    assert abs(draws.mean() - 0.5) < 5 * np.sqrt(1 / 12 / draws.size)
    assert abs(draws.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / draws.size)
    correlation = np.corrcoef(draws.T)
    assert np.abs(correlation - np.eye(4)).max() < 5 / np.sqrt(50_000)


def test_episode_seeds_do_not_collide_over_copies_and_episodes():
    roots = np.repeat(np.arange(300, dtype=np.uint64), 300)
    episodes = np.tile(np.arange(300, dtype=np.uint64), 300)
    assert np.unique(episode_seeds(roots, episodes)).size == 90_000
