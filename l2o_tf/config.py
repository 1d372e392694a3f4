"""What a meta-training run is: the flags of `python -m l2o_tf.train`, checked and resolved."""

import dataclasses
import math

from l2o_tf import errors
from l2o_tf.cli import flag
from l2o_tf.training.curriculum import Schedule, default_validation_steps

# Epochs and epochs per period of the paper's recipes without a curriculum.
_RECIPES = {"dm": (10000, 100), "rnnprop": (100, 10)}
_WHAT, _LENGTH, _CURRICULUM = "What to train", "How long", "Curriculum (paper, Algorithm 1)"
_IMITATION, _META, _FILES = "Imitation (paper, Algorithm 2)", "Meta-optimization", "Files"


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The flags of meta-training; a value of None is replaced by the one that follows from others.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    rule: str = flag("dm", "The update rule to train: dm (L2O-DM) or rnnprop.", _WHAT)
    optimizee: tuple[str, ...] = flag(
        ("mlp",),
        "What to train it on: mlp, mlp_relu, mlp_deeper, conv_mnist, quadratic, ...; several, "
        "separated by commas, are drawn from for each epoch (validation is on the first).",
        _WHAT,
    )
    dataset: str = flag(
        "mnist", "A TensorFlow Datasets image classification set, or digits (embedded).", _WHAT
    )
    batch_size: int = flag(128, "Images per minibatch of the optimizee.", _WHAT)
    seed: int = flag(0, "Everything random follows from it.", _WHAT)

    num_epochs: int | None = flag(
        None,
        "Epochs (trajectories) in all. Default: 10000 for dm, 100 for rnnprop; with --curriculum "
        "until the curriculum stops.",
        _LENGTH,
    )
    num_steps: int = flag(100, "Optimizee steps per epoch without a curriculum.", _LENGTH)
    unroll_length: int = flag(20, "Optimizee steps per meta-step (truncated unroll).", _LENGTH)
    period_epochs: int | None = flag(
        None,
        "Epochs between validations (T_period). Default: 100, for rnnprop 10.",
        _LENGTH,
    )
    validation_epochs: int = flag(20, "Trajectories per validation.", _LENGTH)

    curriculum: bool = flag(False, "Let the number of steps grow in stages.", _CURRICULUM)
    curriculum_steps: tuple[int, ...] = flag(
        (100, 200, 500, 1000, 1500, 2000, 2500, 3000),
        "Optimizee steps per epoch of each stage (N_train).",
        _CURRICULUM,
    )
    validation_steps: tuple[int, ...] | None = flag(
        None,
        "Steps per validation trajectory of each stage (N_valid). Default: N_train of the next "
        "stage; for the last one, as much more as it has over the one before.",
        _CURRICULUM,
    )
    min_periods: int = flag(3, "Periods that each stage gets at least (N_period).", _CURRICULUM)

    imitation_r: tuple[float, ...] = flag(
        (0.0,),
        "Probability that an epoch imitates a teacher: one number, or one per stage.",
        _IMITATION,
    )
    teachers: tuple[str, ...] = flag(
        ("adam:0.01", "sgd:0.1", "adagrad:0.01"),
        "The analytical rules to imitate, name:learning_rate; each epoch draws one.",
        _IMITATION,
    )
    steps_per_label: int = flag(1, "The teacher's steps per step of the student (k).", _IMITATION)

    meta_learning_rate: float = flag(1e-3, "Learning rate of the meta-optimizer, Adam.", _META)
    second_derivatives: bool = flag(
        False, "Differentiate also through the gradients that the rule is given.", _META
    )

    workdir: str = flag("", "The run's directory. An existing run is resumed.", _FILES, False)
    data_dir: str | None = flag(
        None, "Where the data sets are. Default: TFDS_DATA_DIR or ~/tensorflow_datasets.",
        _FILES, False,
    )  # fmt: skip

    def __post_init__(self):
        for name in ("num_steps", "unroll_length", "validation_epochs", "min_periods",
                     "steps_per_label", "batch_size", "num_epochs", "period_epochs"):  # fmt: skip
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "at least 1")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "between 0 and 2147483647")
        _require(
            0 < self.meta_learning_rate < math.inf,
            "meta_learning_rate", self.meta_learning_rate, "a positive number",
        )  # fmt: skip
        for name in ("optimizee", "curriculum_steps", "imitation_r", "teachers"):
            _require(getattr(self, name), name, "", "a list with at least one entry")
        for r in self.imitation_r:
            _require(0 <= r <= 1, "imitation_r", r, "a probability, between 0 and 1")
        self._check_steps()

    def _check_steps(self) -> None:
        lengths = {
            "num_steps": (self.num_steps,),
            "curriculum_steps": self.curriculum_steps,
            "validation_steps": self.validation_steps or (),
        }
        for name, steps in lengths.items():
            for value in steps:
                _require(
                    value > 0 and value % self.unroll_length == 0,
                    name, value, f"a multiple of --unroll_length={self.unroll_length}",
                )  # fmt: skip
        stages = self.curriculum_steps
        increasing = all(a < b for a, b in zip(stages, stages[1:]))
        _require(increasing, "curriculum_steps", _commas(stages), "increasing from stage to stage")
        if self.validation_steps is not None:
            expected = f"one number for each of the {len(stages)} stages"
            same = len(self.validation_steps) == len(stages)
            _require(same, "validation_steps", _commas(self.validation_steps), expected)

    def schedule(self) -> Schedule:
        """The schedule that the flags describe."""
        num_epochs, period_epochs = _RECIPES.get(self.rule, (10000, 100))
        period_epochs = self.period_epochs or period_epochs
        if not self.curriculum:
            stages = (self.num_steps,)
            return Schedule(
                stages, stages, period_epochs, math.inf, self.num_epochs or num_epochs
            )
        stages = self.curriculum_steps
        return Schedule(
            stages,
            self.validation_steps or default_validation_steps(stages),
            period_epochs,
            self.min_periods,
            self.num_epochs or math.inf,
        )

    def identity(self) -> dict:
        """The values, as JSON, that a resumed run must share with the run that it goes on with."""
        return {
            field.name: _to_json(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.metadata["identity"]
        }


def check_same_run(config: TrainConfig, recorded: dict) -> None:
    """Compares a config with the one recorded in a run's directory.

    Raises:
        InputError: if they differ; the message names the flags and both values.
    """
    current = config.identity()
    different = [
        f"--{name}={_commas(current.get(name))} (it has {_commas(recorded.get(name))})"
        for name in sorted(current.keys() | recorded.keys())
        if current.get(name) != recorded.get(name)
    ]
    if different:
        raise errors.InputError(
            f"{config.workdir} holds a run with other flags: {', '.join(different)}; "
            "use the same flags to resume it or another --workdir"
        )


def _require(condition: bool, name: str, value, expected: str) -> None:
    if not condition:
        raise errors.InputError(f"--{name}={value} must be {expected}")


def _commas(value) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _to_json(value):
    return list(value) if isinstance(value, tuple) else value
