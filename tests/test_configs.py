"""Experiment files: what is read, what is refused, and how the refusal reads."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nashgrid.configs import (
    ConfigError,
    Experiment,
    build,
    dump_experiment,
    load_experiment,
    override,
    shipped,
)
from nashgrid.configs.yaml_text import parse

MINIMAL = """
name: small
env: {id: oligopoly-v0, preset: duopoly}
learner: {plays: 2000}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_experiment(write(folder, text))
    return caught.value.problems


@pytest.mark.parametrize("name", shipped())
def test_shipped_experiment_builds_its_game(name):
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.learner.plays >= experiment.learner.rounds_per_update


def test_shipped_experiments_cover_all_games_and_both_learners():
    found = {
        (e.env.id, e.learner.kind)
        for e in (load_experiment(name, check_game=False) for name in shipped())
    }
    assert {("market-v0", "shared"), ("market-v0", "independent")} <= found
    assert ("oligopoly-v0", "independent") in found
    assert {("flexibility-v0", "shared"), ("flexibility-v0", "independent")} <= found


def test_path_and_bare_name_give_the_same_experiment(tmp_path):
    experiment = load_experiment("duopoly")
    path = tmp_path / "resolved.yaml"
    path.write_text(dump_experiment(experiment))
    assert load_experiment(path) == experiment


def test_defaults_fill_what_the_file_leaves_out(tmp_path):
    experiment = load_experiment(write(tmp_path, MINIMAL))
    assert experiment.seed == 1
    assert experiment.learner.hidden == (64, 64)
    assert experiment.score.scenarios == 512


def test_overrides_replace_values_and_are_checked(tmp_path):
    path = write(tmp_path, MINIMAL)
    experiment = load_experiment(
        path, {"seed": 3, "learner.plays": "20_000", "env.arguments.order": "sequential"}
    )
    assert (experiment.seed, experiment.learner.plays) == (3, 20_000)
    assert experiment.env.arguments == {"order": "sequential"}
    with pytest.raises(ConfigError, match=r"2 override\(s\) has 2 problem\(s\)") as caught:
        load_experiment(path, {"learner.plas": 1, "learner.gamma": 1.5})
    assert caught.value.problems == [
        "learner.gamma: Input should be less than or equal to 1 (got 1.5)",
        "learner.plas: unknown key; did you mean 'plays'?",
    ]


def test_override_leaves_its_input_alone():
    raw = {"learner": {"plays": 1}}
    assert override(raw, {"learner.plays": 2, "env.arguments.a": 3}) == {
        "learner": {"plays": 2},
        "env": {"arguments": {"a": 3}},
    }
    assert raw == {"learner": {"plays": 1}}


def test_every_problem_is_reported_at_once(tmp_path):
    found = problems(
        tmp_path,
        """
name: ../escape
sed: 3
seed: -1
env: {id: oligopoly-v0, prest: duopoly}
learner: {kind: shraed, plays: many, gamma: 1.5, entropy: .nan, n_steps: true, hidden: [8, x]}
score: 5
""",
    )
    assert sorted(line.split(":")[0] for line in found) == [
        "env.prest",
        "learner.entropy",
        "learner.gamma",
        "learner.hidden.1",
        "learner.kind",
        "learner.n_steps",
        "learner.plays",
        "name",
        "score",
        "sed",
        "seed",
    ]
    assert "env.prest: unknown key; did you mean 'preset'?" in found
    assert "sed: unknown key; did you mean 'seed'?" in found
    assert "score: a block of keys is needed (got 5)" in found
    assert "learner.kind: Input should be 'shared' or 'independent' (got 'shraed')" in found


def test_message_names_the_file_and_counts_the_problems(tmp_path):
    path = write(tmp_path, MINIMAL + "extra: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    first, second = str(caught.value).splitlines()
    assert first == f"{path} has 1 problem(s)"
    assert second.startswith("  extra: unknown key; known: name, seed, env, learner, score")


def test_problems_of_the_game_join_the_list(tmp_path):
    text = MINIMAL.replace("preset: duopoly", "preset: duoply, arguments: {ordr: sequential}")
    found = problems(tmp_path, text.replace("plays: 2000", "plays: 0"))
    assert any(line.startswith("learner.plays: ") for line in found)
    assert any(line.startswith("env: ") and "did you mean 'duopoly'" in line for line in found)
    assert any(line.startswith("env: ") and "did you mean 'order'" in line for line in found)


@pytest.mark.parametrize(
    ("env", "solver", "told"),
    [
        ("oligopoly-v0", "cartel", "'cartel' is no equilibrium, and a score is the distance to one "
         "(allowed: nash)"),
        ("oligopoly-v0", "nsh", "solver 'nsh' is unknown; did you mean 'nash'? (allowed: nash)"),
        ("oligopoly-v0", "stackelberg", "solver 'stackelberg' is unknown (allowed: nash)"),
        ("market-v0", "welfare", "'welfare' is no equilibrium, and a score is the distance to one "
         "(allowed: nash)"),
    ],
)  # fmt: skip
def test_score_takes_solvers_of_equilibria_alone(env, solver, told):
    raw = {"name": "a", "env": {"id": env}, "learner": {"plays": 0}, "score": {"solver": solver}}
    with pytest.raises(ConfigError) as caught:
        build(raw, "raw")
    assert caught.value.problems[1:] == [f"score.solver: {told}"]


@pytest.mark.parametrize("solver", [None, "nash", "stackelberg"])
def test_every_equilibrium_of_the_game_with_a_leader_can_be_scored_against(solver):
    assert load_experiment("stackelberg", {"score.solver": solver}).score.solver == solver


def test_broken_experiment_is_checked_with_its_game_even_if_that_is_not_asked_for():
    raw = {"name": "a", "env": {"id": "oligopoly-v0", "preset": "duoply"}}
    assert build(raw | {"learner": {"plays": 1}}, "raw", check_game=False).name == "a"
    with pytest.raises(ConfigError) as caught:
        build(raw | {"learner": {"plays": 0}}, "raw", check_game=False)
    assert [line.split(":")[0] for line in caught.value.problems] == ["learner.plays", "env"]


def test_unknown_game_is_told_with_the_nearest_name(tmp_path):
    found = problems(tmp_path, MINIMAL.replace("oligopoly-v0, preset: duopoly", "oligoply-v0"))
    assert len(found) == 1 and "did you mean 'oligopoly-v0'" in found[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"learner.batch_size": 5000}, "exceeds the 1024 rows of an update"),
        ({"learner.learning_rate_end": 1.0}, "the rate falls"),
        ({"score.seed": 40}, "seeds of training, 1..64, overlap with the held-out ones, 40..551"),
        (
            {"seed": 1_999_999_990},
            "seeds of training, 1999999990..2000000053, overlap with those of the learning curve, "
            "2000000000..2000000031: change seed",
        ),
        ({"score.seed": 2_000_000_031}, "held-out seeds, 2000000031..2000000542, overlap with"),
        ({"score.scenarios": 0}, "score.scenarios: Input should be greater than 0 (got 0)"),
        ({"seed": 2**63}, "seed: Input should be less than"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(tmp_path, change, told):
    with pytest.raises(ConfigError, match=told.replace("(", r"\(").replace(")", r"\)")):
        load_experiment(write(tmp_path, MINIMAL), change)


def test_key_given_twice_is_refused_with_both_lines(tmp_path):
    assert problems(tmp_path, "name: a\nseed: 1\nname: b\n") == [
        "line 3, column 1: key 'name' is given twice (first on line 1)"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "an experiment is a mapping of keys to values (got nothing)"),
        ("- 1", "an experiment is a mapping of keys to values (got [1])"),
        ("name: [1", "line 1, column 9: "),
        ("1: 2", "line 1, column 1: key 1 is not text"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: \x07", "unacceptable character"),
    ],
)
def test_text_that_is_no_experiment_is_refused(tmp_path, text, told):
    found = problems(tmp_path, text)
    assert len(found) == 1 and told in found[0]


def test_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not text in UTF-8"):
        load_experiment(path)


def test_missing_file_is_told_with_the_shipped_names():
    with pytest.raises(FileNotFoundError, match="did you mean 'duopoly'") as caught:
        load_experiment("duoply")
    assert all(name in str(caught.value) for name in shipped())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-2.", -2.0),
        ("010", 10),
        ("-7", -7),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2026-01-05", "2026-01-05"),
        ("'3'", "3"),
        ("~", None),
        ("", None),
        ("[1, 2e0, {a: b}]", [1, 2.0, {"a": "b"}]),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    parsed = parse(text)
    assert parsed == value and type(parsed) is type(value)


@given(
    st.dictionaries(
        st.text("abcdefgh_", min_size=1, max_size=5),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text("aefnotu1:-.+~#'\n "),
        max_size=4,
    )
)
def test_game_arguments_survive_dump_and_load(arguments):
    raw = {
        "name": "round_trip",
        "env": {"id": "oligopoly-v0", "arguments": arguments},
        "learner": {"plays": 1},
    }
    experiment = build(raw, "raw", check_game=False)
    again = build(parse(dump_experiment(experiment)), "text", check_game=False)
    assert again == experiment and again.env.arguments == arguments


def test_experiment_cannot_be_changed_after_validation():
    experiment = load_experiment("duopoly", check_game=False)
    with pytest.raises(ValueError, match="frozen"):
        experiment.seed = 5  # type: ignore[misc]
    assert isinstance(experiment, Experiment)
