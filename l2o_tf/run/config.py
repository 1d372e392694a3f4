"""What a meta-training run is: the flags of `python -m l2o_tf.train`, checked and resolved."""

import dataclasses
import math

from l2o_tf.core import errors
from l2o_tf.core.flags import CommandFlags, check_numbers, flag, json_object, require, to_text
from l2o_tf.run import shared_flags
from l2o_tf.run.device_flags import DeviceFlags, ReplicaFlags
from l2o_tf.run.objective_flags import ObjectiveFlags
from l2o_tf.run.recipe_flags import LengthFlags, TechniqueFlags, WhatFlags
from l2o_tf.training.curriculum import Schedule, default_validation_steps

_SCORES = ("last_unroll", "final_minibatch")
_CHOICES = ("epoch", "unroll")
_LEVELS = ("coordinate", "tensor", "global", "mixed")  # Those of `optimizees.scaling`.


@dataclasses.dataclass(frozen=True)
class FileFlags:
    """Where a run is, and what it leaves there."""

    workdir: str = flag(
        "",
        "The run's directory. An existing run is resumed. Default: runs/RULE-DATE-TIME.",
        shared_flags.FILES,
        identity=False,
    )
    data_dir: str | None = shared_flags.data_dir(identity=False)
    checkpoint_seconds: float = flag(
        10.0,
        "A checkpoint after the first event that ends so long after the last one: what a killed "
        "run may lose. 0: after every epoch and validation.",
        shared_flags.FILES,
        identity=False,
    )
    max_snapshots: int = flag(
        1000,
        "Validated weights to keep, for python -m l2o_tf.select to choose among; beyond so many "
        "every second one is dropped. 0 for none.",
        shared_flags.FILES,
        False,
    )
    dry_run: bool = flag(
        False,
        "Say what would be trained, on what, with which flags and roughly for how long, and stop.",
        shared_flags.FILES,
        identity=False,
    )


# Fields are in the order of the bases from the last to the first, which is that of --help.
@dataclasses.dataclass(frozen=True)
class TrainConfig(
    CommandFlags,
    FileFlags,
    DeviceFlags,
    ReplicaFlags,
    ObjectiveFlags,
    TechniqueFlags,
    LengthFlags,
    WhatFlags,
):
    """The flags of meta-training; a value of None is replaced by the one that follows from others.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    HAS_RECIPES = True  # The flagfiles of the package.

    def __post_init__(self):
        self._check_ranges()
        self._check_choices()
        self.options_of_rule()
        json_object("optimizee_options", self.optimizee_options)
        self.check_objective()
        self.check_random_lengths()
        self.check_replicas()
        self._check_weights()
        self._check_optimizees()
        self._check_processes()
        self._check_techniques()
        self._check_steps()
        check_numbers(self)

    def _check_ranges(self) -> None:
        for name in (
            "num_steps",
            "unroll_length",
            "validation_epochs",
            "min_periods",
            "steps_per_label",
            "batch_size",
            "num_epochs",
            "period_epochs",
            "max_train_steps",
            "evolution_pairs",
            "jobs",
        ):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "at least 1")
        for name, values in (("seed", (self.seed,)), ("seeds", self.seeds)):
            for value in values:
                require(0 <= value < 2**31, name, value, "between 0 and 2147483647")
        distinct = len(set(self.seeds)) == len(self.seeds)
        require(distinct, "seeds", to_text(self.seeds), "different numbers")
        stddev = self.evolution_stddev
        require(0 < stddev < math.inf, "evolution_stddev", stddev, "a positive number")
        average = self.weight_average
        require(0 <= average < 1, "weight_average", average, "at least 0 and less than 1")
        for name in (
            "self_improving_epochs",
            "random_scaling",
            "max_snapshots",
            "checkpoint_seconds",
        ):
            value = getattr(self, name)
            require(0 <= value < math.inf, name, value, "at least 0")
        share = self.self_improving_share
        require(share is None or 0 < share <= 1, "self_improving_share", share, "in (0, 1]")
        if share is not None and not self.self_improving_epochs:
            raise errors.InputError(
                f"--self_improving_share={share} needs --self_improving_epochs=100 or so"
            )

    def _check_choices(self) -> None:
        for name, options in (
            ("validation_score", _SCORES),
            ("imitation_choice", _CHOICES),
            ("scaling_level", _LEVELS),
        ):
            value = getattr(self, name)
            require(value in options, name, value, f"one of {', '.join(options)}")
        for name in ("optimizee", "curriculum_steps", "imitation_r", "teachers"):
            require(getattr(self, name), name, "", "a list with at least one entry")
        for r in self.imitation_r:
            require(0 <= r <= 1, "imitation_r", r, "a probability, between 0 and 1")
        distinct = len(set(self.optimizee)) == len(self.optimizee)
        require(distinct, "optimizee", to_text(self.optimizee), "different names")

    def _check_weights(self) -> None:
        """How often teachers and optimizees are drawn."""
        for name, drawn in (("teacher_weights", "teachers"), ("optimizee_weights", "optimizee")):
            weights, expected = getattr(self, name), len(getattr(self, drawn))
            if weights is None:
                continue
            text = to_text(weights)
            fits = len(weights) == expected
            require(fits, name, text, f"one number for each of the {expected} of --{drawn}")
            usable = all(0 <= w < math.inf for w in weights) and any(weights)
            require(usable, name, text, "at least 0, and one of them positive")

    def _check_optimizees(self) -> None:
        """Flags of what is trained on that need others or exclude them."""
        if self.scoring_examples and not self.problem_sets:
            raise errors.InputError(
                f"--scoring_examples={self.scoring_examples} needs --problem_sets: other "
                "optimizees are scored on the minibatch of each step"
            )
        if self.balance_losses and self.objective != "sum":
            raise errors.InputError(
                f"--balance_losses is for --objective=sum; --objective={self.objective} divides by "
                "the first loss anyway: leave one of them out"
            )
        several = 1 if self.problem_sets else len(self.optimizee)
        if self.validation_epochs < several:
            raise errors.InputError(
                f"--validation_epochs={self.validation_epochs} must be at least {several}, a "
                "trajectory on each of --optimizee"
            )
        for name in ("optimizee_weights", "optimizee_options"):
            if getattr(self, name) and self.problem_sets:
                raise errors.InputError(
                    f"--{name} cannot be combined with --problem_sets, which take the place of "
                    "--optimizee: leave one of them out"
                )
        if self.scaling_level != _LEVELS[0] and not self.random_scaling:
            raise errors.InputError(
                f"--scaling_level={self.scaling_level} needs --random_scaling=b: how far to scale"
            )
        if self.random_scaling and self.scoring_examples:
            raise errors.InputError(
                f"--random_scaling={self.random_scaling} cannot be combined with "
                f"--scoring_examples={self.scoring_examples}: leave one of them out"
            )

    def _check_processes(self) -> None:
        """Flags of who trains that need others or exclude them."""
        if self.seeds and self.seed:
            raise errors.InputError("--seed cannot be combined with --seeds: leave one of them out")
        if self.jobs > 1 and not self.seeds:
            raise errors.InputError(f"--jobs={self.jobs} needs --seeds=A,B: the seeds to train")
        if self.strategy != "none" and self.seeds:
            raise errors.InputError(
                f"--strategy={self.strategy} cannot be combined with --seeds, which have processes "
                "of their own: give one --seed"
            )
        if self.keep_state and (self.trajectories_per_step > 1 or self.strategy != "none"):
            raise errors.InputError(
                "--keep_state needs --trajectories_per_step=1 and --strategy=none: it is the state "
                "of one trajectory that is kept"
            )

    def _check_techniques(self) -> None:
        """Flags of how meta-gradients come about that need others or exclude them."""
        if self.second_derivatives and self.estimator != "bptt":
            raise errors.InputError(
                f"--second_derivatives needs --estimator=bptt; --estimator={self.estimator} "
                "differentiates nothing: leave one of them out"
            )
        if self.self_improving_epochs and self.imitation_choice == "unroll":
            raise errors.InputError(
                "--imitation_choice=unroll cannot be combined with --self_improving_epochs="
                f"{self.self_improving_epochs}: leave one of them out"
            )
        if self.random_num_steps and (self.curriculum or self.imitation_choice == "unroll"):
            other = "curriculum" if self.curriculum else "imitation_choice=unroll"
            raise errors.InputError(
                f"--{other} cannot be combined with --random_num_steps: leave one of them out"
            )
        if self.random_unroll_length is not None:
            for name, wrong in (
                ("curriculum", self.curriculum),
                ("imitation_choice=unroll", self.imitation_choice == "unroll"),
                ("estimator=pes", self.estimator == "pes"),
            ):
                if wrong:
                    raise errors.InputError(
                        f"--{name} cannot be combined with random lengths: leave one of them out"
                    )
        if self.keep_state and (self.estimator != "bptt" or len(self.optimizee) > 1):
            raise errors.InputError(
                "--keep_state needs --estimator=bptt and a single optimizee, whose state is kept"
            )

    def _check_steps(self) -> None:
        if self.curriculum:
            self._check_stages()
            return
        if self.validation_steps is not None:
            raise errors.InputError(
                f"--validation_steps={to_text(self.validation_steps)} needs --curriculum; without,"
                " a validation has as many steps as an epoch, --num_steps"
            )
        self._check_lengths("num_steps", (self.num_steps,))

    def _check_stages(self) -> None:
        stages, validations = self.curriculum_steps, self.validation_steps
        self._check_lengths("curriculum_steps", stages)
        self._check_lengths("validation_steps", validations or ())
        increasing = all(a < b for a, b in zip(stages, stages[1:]))
        require(increasing, "curriculum_steps", to_text(stages), "increasing from stage to stage")
        if validations is not None:
            expected = f"one number for each of the {len(stages)} stages"
            same = len(validations) == len(stages)
            require(same, "validation_steps", to_text(validations), expected)

    def _check_lengths(self, name: str, lengths: tuple[int, ...]) -> None:
        expected = f"a multiple of --unroll_length={self.unroll_length}"
        for length in lengths:
            require(length > 0 and length % self.unroll_length == 0, name, length, expected)

    def schedule(self, num_replicas: int = 1) -> Schedule:
        """The schedule that the flags describe for so many replicas.

        Raises:
            InputError: for an unknown rule, which says how long it is trained by default.
        """
        # Late, because --help and a wrong flag must not wait for TensorFlow.
        from l2o_tf import rules

        recipe_epochs, period_epochs = rules.recipe(self.rule)
        period_epochs = self.period_epochs or period_epochs
        max_steps = self.max_train_steps or math.inf
        trajectories = self.trajectories_per_step * num_replicas
        if not self.curriculum:
            stages: tuple[int, ...] = (self.num_steps,)
            num_epochs = recipe_epochs if self.max_train_steps is None else math.inf
            return Schedule(
                stages,
                stages,
                period_epochs,
                math.inf,
                self.num_epochs or num_epochs,
                max_steps,
                trajectories,
            )
        stages = self.curriculum_steps
        return Schedule(
            stages,
            self.validation_steps or default_validation_steps(stages),
            period_epochs,
            self.min_periods,
            self.num_epochs or math.inf,
            max_steps,
            trajectories,
        )

    def resolved(self) -> "TrainConfig":
        """The same run, with what follows from other flags written out."""
        schedule = self.schedule()
        finite = math.isfinite(schedule.max_epochs)
        return dataclasses.replace(
            self,
            num_epochs=int(schedule.max_epochs) if finite else None,
            period_epochs=schedule.period_epochs,
            validation_steps=schedule.validation_steps if self.curriculum else None,
            teacher_weights=self.teacher_weights or (1.0,) * len(self.teachers),
            meta_learning_rate=self.meta_rate,
        )

    def identity(self) -> dict:
        """The values, as JSON, that a resumed run must share with the run that it goes on with."""
        values = {
            field.name: _to_json(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.metadata["identity"]
        }
        # Runs of older versions have it in numbers.
        return {**values, "meta_learning_rate": self.meta_rate}


def check_same_run(config: TrainConfig, recorded: dict) -> None:
    """Compares a config with the one recorded in a run's directory.

    Raises:
        InputError: if they differ; the message names the flags and both values.
    """
    current = config.identity()
    # Runs of older versions lack flags that came later and did what their defaults do.
    recorded = {**TrainConfig().identity(), **recorded}
    different = [
        f"--{name}={to_text(current.get(name))} (it has {to_text(recorded.get(name))})"
        for name in sorted(current.keys() | recorded.keys())
        if current.get(name) != recorded.get(name)
    ]
    if different:
        raise errors.InputError(
            f"{config.workdir} holds a run with other flags: {', '.join(different)}; "
            "use the same flags to resume it or another --workdir"
        )


def _to_json(value):
    return list(value) if isinstance(value, tuple) else value
