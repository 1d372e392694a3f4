"""The parts of meta-training that the flags choose, beside rule, optimizees and schedule."""

from l2o_tf import errors
from l2o_tf.config import TrainConfig
from l2o_tf.data import datasets
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.optimizees.scale import problem_sets
from l2o_tf.training import estimators, evolution, lengths
from l2o_tf.training.objectives import Objective
from l2o_tf.training.plan import Plan
from l2o_tf.training.regularizers import Regularizer


def plan(config: TrainConfig) -> Plan:
    """How unrolls are scored and how long they are."""
    return Plan(
        Objective(config.objective, config.numerator_epsilon, config.early_stop),
        config.scoring_examples,
        _lengths(config),
        _regularizer(config),
        config.keep_state,
    )


def _lengths(config: TrainConfig) -> lengths.RandomLengths | None:
    if config.random_num_unrolls is None or config.random_unroll_length is None:
        return None
    return lengths.RandomLengths(
        lengths.parse(config.random_num_unrolls, "random_num_unrolls"),
        lengths.parse(config.random_unroll_length, "random_unroll_length"),
    )


def _regularizer(config: TrainConfig) -> Regularizer | None:
    if config.regularizer == "none":
        return None
    return Regularizer(
        config.regularizer,
        config.regularizer_weight,
        config.regularizer_iterations,
        config.regularizer_time,
        config.regularizer_fraction,
    )


def estimator(config: TrainConfig) -> estimators.Estimator:
    """How meta-gradients are found."""
    noise = config.evolution_pairs, config.evolution_stddev
    if config.estimator == "es":
        return evolution.TruncatedES(*noise)
    if config.estimator == "pes":
        return evolution.PersistentES(*noise)
    return estimators.Backprop(config.second_derivatives)


def problems(config: TrainConfig) -> list[Optimizee]:
    """The problems of --problem_sets; the run's seed draws their constants.

    Raises:
        InputError: for an unknown set.
    """
    for name in config.problem_sets:
        if name not in problem_sets.PROBLEM_SETS.names():
            known = ", ".join(problem_sets.PROBLEM_SETS.names())
            raise errors.InputError(f"--problem_sets={name}: unknown problem set; known: {known}")
    images = None
    if any(problem_sets.needs_images(name) for name in config.problem_sets):
        images = datasets.load(config.dataset, "train", config.data_dir)
    found = [
        problem
        for name in config.problem_sets
        for problem in problem_sets.problem_set(name, config.seed, images)
    ]
    if config.keep_state and len(found) > 1:
        raise errors.InputError(
            f"--keep_state needs a single problem, whose state is kept; these sets have {len(found)}"
        )
    return found
