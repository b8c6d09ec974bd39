"""What an experiment is: the schema of the YAML files and of the flags of ``nashgrid train``.

Every field carries its meaning, which is also its help text, and its range. Unknown keys, numbers
that are not finite and values out of range are refused; text that spells a number is read as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

if TYPE_CHECKING:
    from nashgrid.envs.core.contract import Game

Seed = Annotated[int, Field(ge=0, lt=2**63)]
HELD_OUT_SEED = 1_000_000_000  # far above the seeds that anyone gives by hand
VALIDATION_SEED = 2_000_000_000  # of the scenarios that the learning curve is measured on
VALIDATION_SCENARIOS = 32
EQUILIBRIA = ("nash", "stackelberg")  # solvers whose outcome a score can be the distance to


class Block(BaseModel):
    """A frozen group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_not_one(cls, value: Any, info: ValidationInfo) -> Any:
        """Lax validation would read ``seed: true`` as 1."""
        if cls.model_fields[str(info.field_name)].annotation is not bool:
            for item in value if isinstance(value, list | tuple) else [value]:
                if isinstance(item, bool):
                    raise ValueError(f"true and false are not allowed here (got {value!r})")
        return value


class Env(Block):
    """Which game is played."""

    id: str = Field(description="Id of the game, see `nashgrid envs`.")
    preset: str | None = Field(
        default=None, description="Named set of arguments, see `nashgrid show ID`; None: default."
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the game that differ from the preset's."
    )


class SAC(Block):
    """What soft actor-critic has beyond the other keys; only with algorithm = 'sac'."""

    buffer_size: int = Field(
        default=100_000, gt=0, description="Moves of a learner that its replay buffer holds."
    )
    learning_starts: int = Field(
        default=512,
        ge=0,
        description="Moves of a learner before it learns; until then it plays uniformly at random.",
    )
    gradient_steps: int = Field(
        default=16, gt=0, description="Minibatches that an update learns from."
    )
    tau: float = Field(
        default=0.005, gt=0, le=1, description="Step of the target critics to the critics."
    )
    ent_coef: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        default="auto",
        description="Weight of the entropy; auto: learned, for an entropy of minus the "
        "numbers of an action.",
    )

    @model_validator(mode="after")
    def _starts_within_the_buffer(self) -> Self:
        if self.learning_starts > self.buffer_size:
            _refuse(
                [
                    f"learning_starts = {self.learning_starts} exceeds buffer_size = "
                    f"{self.buffer_size}"
                ]
            )
        return self


PPO_KEYS = (  # that SAC has no use for
    *("n_epochs", "log_std_init", "log_std_rate", "clip_range", "entropy", "entropy_end"),
    "gae_lambda",
)


class Learner(Block):
    """PPO or SAC: who learns, for how long, and with which hyperparameters."""

    kind: Literal["shared", "independent"] = Field(
        default="independent",
        description="One network for all agents, or one network per agent, all learning at once.",
    )
    algorithm: Literal["ppo", "maskable-ppo", "sac"] = Field(
        default="ppo",
        description="PPO; PPO that never plays masked options (games of choices), where PPO plays "
        "them too, and the game puts another option in their place; or soft actor-critic "
        "(continuous games).",
    )
    plays: int = Field(gt=0, description="Environment episodes in total.")
    copies: int = Field(default=64, gt=0, description="Copies of the game played in one batch.")
    n_steps: int = Field(default=16, gt=0, description="Rounds that a copy plays between updates.")
    batch_size: int = Field(default=256, gt=1, description="Rows of a minibatch.")
    n_epochs: int = Field(default=10, gt=0, description="Passes over the rows of an update.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate at the start.")
    learning_rate_end: float = Field(
        default=0.0, ge=0, description="Learning rate at the end; it falls linearly."
    )
    log_std_init: float = Field(
        default=-1.0, ge=-10, le=2, description="Log of the policy's standard deviation at first."
    )
    log_std_rate: float = Field(
        default=2.5,
        gt=0,
        description="Factor on the learning rate of the standard deviation. Too low, and "
        "exploration outlasts the learning.",
    )
    clip_range: float = Field(default=0.2, gt=0, lt=1, description="PPO's clipping of the ratio.")
    entropy: float = Field(default=0.0, ge=0, description="Weight of the entropy bonus.")
    entropy_end: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="Weight of the entropy bonus at the end, reached linearly; None: constant.",
    )
    gamma: float = Field(default=1.0, ge=0, le=1, description="Discount per round.")
    gae_lambda: float = Field(
        default=0.95, ge=0, le=1, description="Weight of long advantage estimates."
    )
    hidden: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(64, 64), description="Sizes of the hidden layers of policy and value network."
    )
    activation: Literal["tanh", "relu"] = Field(
        default="tanh", description="Activation of the hidden layers."
    )
    reward_scale: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Factor on the payoffs that the learner sees; None: 1 / the game's payoff "
        "scale. Scores are always in the game's unit.",
    )
    sac: SAC = Field(default_factory=SAC)
    checkpoint_every: int = Field(
        default=20, gt=0, description="Updates between checkpoints; the last update makes one too."
    )
    validate_every: int = Field(
        default=20,
        ge=0,
        description="Updates between scores of the policy for the learning curve; 0: none.",
    )

    @property
    def rounds_per_update(self) -> int:
        """Rounds played between two updates, over all copies; each gives every agent a row."""
        return self.copies * self.n_steps

    def problems_with(self, game: Game) -> list[str]:
        """Why these settings cannot train on the game: key and reason, one line each."""
        problems = []
        rows = self.rounds_per_update * game.n_agents
        on_policy = self.algorithm != "sac"
        if on_policy and self.kind == "shared" and self.batch_size > rows:
            problems.append(
                f"batch_size = {self.batch_size} exceeds the {rows} rows of an update "
                f"(copies = {self.copies} times n_steps = {self.n_steps} times "
                f"{game.n_agents} agents)"
            )
        if self.algorithm == "maskable-ppo" and game.is_continuous:
            problems.append(
                f"algorithm = 'maskable-ppo' needs a game of choices, and the actions of {game.id} "
                "are continuous: train with algorithm = 'ppo'"
            )
        if self.algorithm == "sac" and not game.is_continuous:
            problems.append(
                f"algorithm = 'sac' needs continuous actions, and those of {game.id} are choices: "
                "train with algorithm = 'ppo' or 'maskable-ppo'"
            )
        return problems

    @model_validator(mode="after")
    def _numbers_fit_together(self) -> Self:
        problems = self._keys_of_another_algorithm()
        on_policy = self.algorithm != "sac"
        if on_policy and self.kind == "independent" and self.batch_size > self.rounds_per_update:
            problems.append(
                f"batch_size = {self.batch_size} exceeds the {self.rounds_per_update} rows of an "
                f"update (copies = {self.copies} times n_steps = {self.n_steps})"
            )
        if self.learning_rate_end > self.learning_rate:
            problems.append(
                f"learning_rate_end = {self.learning_rate_end:g} exceeds learning_rate = "
                f"{self.learning_rate:g}: the rate falls"
            )
        _refuse(problems)
        return self

    def _keys_of_another_algorithm(self) -> list[str]:
        """Settings that would be passed over in silence; defaults may stand anywhere."""
        if self.algorithm != "sac":
            if self.sac == SAC():
                return []
            return [f"the block sac is of algorithm = 'sac' (given: {self.algorithm!r})"]
        fields = type(self).model_fields
        given = [name for name in PPO_KEYS if getattr(self, name) != fields[name].default]
        return [
            f"{name} = {getattr(self, name)} is of PPO, and algorithm = 'sac' has no use for it: "
            f"leave it out (its default is {fields[name].default})"
            for name in given
        ]


class Score(Block):
    """On what and how finely the learned policy is scored."""

    scenarios: int = Field(default=512, gt=0, description="Held-out scenarios.")
    seed: Seed = Field(
        default=HELD_OUT_SEED,
        description="Seed of the first held-out scenario, the others follow; disjoint from the "
        "seeds of training.",
    )
    validation_scenarios: int = Field(
        default=VALIDATION_SCENARIOS,
        gt=0,
        le=VALIDATION_SCENARIOS,
        description="Scenarios of the learning curve; few where one is costly to solve.",
    )
    samples: int = Field(
        default=64, gt=0, description="Samples of the executed policy in a scenario."
    )
    controls: bool = Field(
        default=True,
        description="Score the controls too: random, passive, greedy, untrained, best constant.",
    )
    solver: str | None = Field(
        default=None,
        description="Solver of the reference, an equilibrium: nash or stackelberg; None: that of "
        "the game's own rules.",
    )


class Experiment(Block):
    """One training run and its score."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="Name of the run and of its folder: letters, digits, '.', '_', '-'.",
    )
    seed: Seed = Field(default=1, description="Seed of training; copy c of the game has seed + c.")
    env: Env
    learner: Learner
    score: Score = Field(default_factory=Score)

    @model_validator(mode="after")
    def _held_out_is_held_out(self) -> Self:
        train = range(self.seed, self.seed + self.learner.copies)
        held_out = range(self.score.seed, self.score.seed + self.score.scenarios)
        validation = range(VALIDATION_SEED, VALIDATION_SEED + VALIDATION_SCENARIOS)
        pairs = [
            ("seeds of training", train, "the held-out ones", held_out, "seed or score.seed"),
            ("seeds of training", train, "those of the learning curve", validation, "seed"),
            ("held-out seeds", held_out, "those of the learning curve", validation, "score.seed"),
        ]
        _refuse(
            [
                f"{one}, {a[0]}..{a[-1]}, overlap with {other}, {b[0]}..{b[-1]}: change {key}"
                for one, a, other, b, key in pairs
                if a.start < b.stop and b.start < a.stop
            ]
        )
        return self


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems))
