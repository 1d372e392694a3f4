"""A trainer from the flags of a run: rule, optimizees, teachers, schedule, objective, estimator."""

import math
from typing import NamedTuple

from l2o_tf import loading, optimizees, rules
from l2o_tf.core import errors, flags, seeds
from l2o_tf.data import datasets
from l2o_tf.optimizees import scaling
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.optimizees.scale import problem_sets
from l2o_tf.rules import mixture
from l2o_tf.run.config import TrainConfig
from l2o_tf.training import (
    evolution,  # noqa: F401  (its estimators are registered when it is imported)
    lengths,
    meta_optimizers,
    objectives,
)
from l2o_tf.training.estimators import ESTIMATORS, Estimator
from l2o_tf.training.plan import Plan
from l2o_tf.training.regularizers import Regularizer
from l2o_tf.training.replicas import Replicas
from l2o_tf.training.trainer import Recipe, Trainer

_MAX_WEIGHTS = 10**8


class Parts(NamedTuple):
    """What a run is made of: the rule to train, what it is trained on, and its trainer.

    `dataset` is None where no optimizee has images.
    """

    rule: rules.UpdateRule
    optimizees: list[Optimizee]
    dataset: datasets.Dataset | None
    trainer: Trainer


def parts(config: TrainConfig, replicas: Replicas = Replicas()) -> Parts:
    """Creates the parts of a run from its flags, for those who are to train it.

    Raises:
        InputError: for flags, a rule or data that cannot be used.
    """
    rule = _rule(config)
    taught_by = teachers(config)
    trained_on, dataset = _optimizees(config)
    validated_on, bound = _validated_on(config, trained_on), config.random_scaling
    if bound:
        level = config.scaling_level
        trained_on = [scaling.RandomScaling(inner, bound, level) for inner in trained_on]
    made = Trainer(
        rule,
        trained_on,
        meta_optimizers.create(
            config.meta_optimizer,
            config.meta_learning_rate,
            config.l2_reg,
            config.meta_weight_decay,
        ),
        _recipe(config, replicas.num_replicas),
        mixture.OneOf(taught_by, config.teacher_weights),
        mixture.PerStep(rule, taught_by, config.teacher_weights),
        validation_optimizees=validated_on,
        steps_per_label=config.steps_per_label,
        estimator=estimator(config),
        plan=plan(config),
        shared_meta_optimizer=config.shared_meta_optimizer,
        optimizee_weights=config.optimizee_weights or (),
        replicas=replicas,
    )
    return Parts(rule, trained_on, dataset, made)


def _rule(config: TrainConfig) -> rules.UpdateRule:
    """A fresh rule, or the one of --init_from."""
    if config.init_from is None:
        return fresh_rule(config)
    rule = loading.load(config.init_from)
    if not rule.learned:
        raise errors.InputError(
            f"--init_from={config.init_from} has no weights to train on: name a run, an exported "
            "rule, a .l2l file or a pretrained rule"
        )
    if rule.registered_name != rules.find(config.rule):
        raise errors.InputError(
            f"--init_from={config.init_from} is a rule {rule.registered_name}, not "
            f"--rule={config.rule}: say --rule={rule.registered_name}"
        )
    try:
        return rules.with_options(rule, **config.options_of_rule())
    except errors.InputError:
        raise
    except Exception as error:  # Wrong options surface as errors of Python or of TensorFlow.
        raise errors.InputError(
            f"--rule_options do not fit the weights of --init_from={config.init_from}: "
            f"{errors.reason(error)}"
        ) from None


def fresh_rule(config: TrainConfig) -> rules.UpdateRule:
    """The rule of a run with weights drawn from --seed.

    Raises:
        InputError: if there is none, or if --rule_options do not fit it or ask for too much.
    """
    options, name = config.options_of_rule(), rules.find(config.rule)

    def create():
        return rules.create_learned(name, seeds.make_seed(config.seed, "rule"), **options)

    try:
        with rules.symbolic():
            size = sum(math.prod(value.shape) for value in create().weights().values())
        if size <= _MAX_WEIGHTS:
            return create()
    except errors.InputError:
        raise
    except Exception as error:  # Wrong options surface as errors of Python or of TensorFlow.
        raise errors.InputError(
            f"--rule_options={config.rule_options} do not fit --rule={config.rule}: "
            f"{errors.reason(error)}"
        ) from None
    raise errors.InputError(
        f"--rule_options={config.rule_options} ask for {size:,} weights, more than {_MAX_WEIGHTS:,}"
    )


def _recipe(config: TrainConfig, num_replicas: int) -> Recipe:
    return Recipe(
        schedule=config.schedule(num_replicas),
        imitation_r=config.imitation_r,
        imitation_per_unroll=config.imitation_choice == "unroll",
        self_improving_epochs=config.self_improving_epochs,
        self_improving_share=config.self_improving_share,
        validation_epochs=config.validation_epochs,
        validate_final_minibatch=config.validation_score == "final_minibatch",
        weight_average=config.weight_average,
        seed=config.seed,
    )


def _validated_on(config: TrainConfig, trained_on: list[Optimizee]) -> list[Optimizee]:
    """All optimizees; of an ensemble as many problems as trajectories, evenly spaced."""
    if not config.problem_sets:
        return trained_on
    count = min(len(trained_on), config.validation_epochs)
    return [trained_on[i * len(trained_on) // count] for i in range(count)]


def _optimizees(config: TrainConfig) -> tuple[list[Optimizee], datasets.Dataset | None]:
    """What is trained on, and its images."""
    if config.problem_sets:
        return _problems(config)
    needs_data = {name for name in config.optimizee if optimizees.default_dataset(name)}
    options = optimizees.options(
        config.optimizee, flags.json_object("optimizee_options", config.optimizee_options)
    )
    dataset = datasets.load(config.dataset, "train", config.data_dir) if needs_data else None
    found = [
        optimizees.create(name, dataset, batch_size=config.batch_size, **options[name])
        for name in config.optimizee
    ]
    return found, dataset


def teachers(config: TrainConfig) -> list[rules.UpdateRule]:
    """The rules of --teachers.

    Raises:
        InputError: unless all of them are analytical ones, whose learning rate, if it is given, is
            a positive number.
    """
    return [_teacher(spec) for spec in config.teachers]


def _teacher(spec: str) -> rules.UpdateRule:
    known = rules.analytical_names()
    if spec.partition(":")[0].strip() not in known:
        raise errors.InputError(
            f"--teachers={spec} must be name:learning_rate of an analytical rule, such as "
            f"adam:0.01; known: {', '.join(known)}"
        )
    try:
        return rules.from_spec(spec)
    except errors.InputError as error:
        raise errors.InputError(f"--teachers={spec}: {error}") from None


def plan(config: TrainConfig) -> Plan:
    """How unrolls are scored and how long they are."""
    return Plan(
        config.unroll_length,
        objectives.create(
            config.objective, config.numerator_epsilon, config.early_stop, config.balance_losses
        ),
        config.scoring_examples,
        _lengths(config),
        _regularizer(config),
        config.keep_state,
        lengths.LogUniformSteps(*config.random_num_steps) if config.random_num_steps else None,
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


def estimator(config: TrainConfig) -> Estimator:
    """How meta-gradients are found.

    Raises:
        InputError: for an unknown estimator.
    """
    named = ESTIMATORS.fact(config.estimator, "flags")
    arguments = {argument: getattr(config, flag) for argument, flag in named.items()}
    return ESTIMATORS.create(config.estimator, **arguments)


def _problems(config: TrainConfig) -> tuple[list[Optimizee], datasets.Dataset | None]:
    """The problems of --problem_sets; the run's seed draws their constants."""
    for name in config.problem_sets:
        if name not in problem_sets.PROBLEM_SETS.names():
            known = ", ".join(problem_sets.PROBLEM_SETS.names())
            raise errors.InputError(f"--problem_sets={name}: unknown problem set; known: {known}")
    images = None
    if any(problem_sets.PROBLEM_SETS.fact(name, "needs_images") for name in config.problem_sets):
        images = datasets.load(config.dataset, "train", config.data_dir)
    found: list[Optimizee] = [
        problem
        for name in config.problem_sets
        for problem in problem_sets.problem_set(name, config.seed, images)
    ]
    if config.keep_state and len(found) > 1:
        raise errors.InputError(
            "--keep_state needs a single problem, whose state is kept; these sets have "
            f"{len(found)}"
        )
    return found, images
