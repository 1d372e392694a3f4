"""The flags of what is trained, for how long, and by which techniques of the paper."""

import dataclasses
from typing import Any

from l2o_tf.core import errors
from l2o_tf.core.flags import flag, json_object, require
from l2o_tf.run import shared_flags

_WHAT, _LENGTH, _CURRICULUM = "What to train", "How long", "Curriculum (paper, Algorithm 1)"
_IMITATION = "Imitation (paper, Algorithm 2)"
_MIXING = "Self-improving (paper, section 4.2)"


@dataclasses.dataclass(frozen=True)
class WhatFlags:
    """The rule, what it is trained on, and the seed."""

    rule: str = flag(
        "dm",
        "The update rule to train: dm (L2O-DM), rnnprop, scale (L2O-Scale's hierarchical RNN), mlp "
        "(a perceptron on Adam's features) or coordinatewise_rnn, global_learning_rate, "
        "learning_rate_schedule, trainable_adam. Your own is module:Class, or its registered name "
        "with --plugins=module.",
        _WHAT,
    )
    init_from: str | None = flag(
        None,
        "Train on from this rule: a run's directory, an exported rule, a legacy .l2l file or a "
        "pretrained name. Default: fresh weights, drawn from --seed.",
        _WHAT,
    )
    optimizee: tuple[str, ...] = flag(
        ("mlp",),
        "What to train it on: mlp, mlp_relu, mlp_deeper, conv_mnist, quadratic, ...; several, "
        "separated by commas, are drawn from for each epoch, and all of them are validated on. "
        "Your own is module:make, a function make(dataset, batch_size) that returns an optimizee.",
        _WHAT,
    )
    optimizee_options: str = shared_flags.optimizee_options(_WHAT)
    optimizee_weights: tuple[float, ...] | None = flag(
        None, "How often each optimizee is drawn, up to a factor. Default: equally often.", _WHAT
    )
    balance_losses: bool = flag(
        False,
        "Divide the losses of an epoch by its first one, so that optimizees with losses of "
        "different size count alike; --objective=mean and log do so anyway.",
        _WHAT,
    )
    dataset: str = flag(
        "mnist", "A TensorFlow Datasets image classification set, or digits (embedded).", _WHAT
    )
    batch_size: int = flag(128, "Images per minibatch of the optimizee.", _WHAT)
    random_scaling: float = flag(
        0.0,
        "Scale each coordinate of the optimizee by exp(U(-b, b)) in training, b this number (3 in "
        "RNNprop's paper); 0 for no scaling.",
        _WHAT,
    )
    scaling_level: str = flag(
        "coordinate",
        "What shares a scale of --random_scaling: nothing (coordinate), a parameter tensor "
        "(tensor), all of them (global), or one of these, drawn for each trajectory (mixed).",
        _WHAT,
    )
    seed: int = flag(0, "Everything random follows from it.", _WHAT)
    seeds: tuple[int, ...] = flag(
        (),
        "Train once for each of these, in place of --seed, in WORKDIR/seed_N.",
        _WHAT,
        False,
    )
    jobs: int = flag(
        1,
        "How many of --seeds train at a time, each in a process with its share of the CPUs.",
        _WHAT,
        False,
    )
    init_lr_range: tuple[float, ...] | None = flag(
        None,
        "low,high: range of the random learning rates that a coordinate starts with, for scale "
        "and coordinatewise_rnn; equal bounds fix them. Default: the rule's, 1e-6,1e-2 for scale.",
        _WHAT,
    )
    rule_options: str = flag(
        "",
        "Further options of the rule as JSON, such as "
        '{"use_attention": true, "level_sizes": [10, 20, 20]}.',
        _WHAT,
    )
    problem_sets: tuple[str, ...] = flag(
        (),
        "In place of --optimizee: sets of L2O-Scale's problems, one problem of which is drawn for "
        "each epoch: quadratic, bowl, softmax_2_class, ..., mnist_mlp, or scale_meta for the "
        "whole ensemble.",
        _WHAT,
    )

    def options_of_rule(self) -> dict[str, Any]:
        """The arguments of the rule.

        Raises:
            InputError: unless --rule_options is a JSON object.
        """
        options = json_object("rule_options", self.rule_options)
        if self.init_lr_range is not None:
            options["init_lr_range"] = self.init_lr_range
        return options


@dataclasses.dataclass(frozen=True)
class LengthFlags:
    """Epochs, unrolls and validations."""

    num_epochs: int | None = flag(
        None,
        "Epochs (trajectories) in all. Default: 10000 for dm, 100 for rnnprop; with --curriculum "
        "until the curriculum stops, with --max_train_steps until these are done.",
        _LENGTH,
    )
    num_steps: int = flag(100, "Optimizee steps per epoch without a curriculum.", _LENGTH)
    max_train_steps: int | None = flag(
        None,
        "Optimizee steps of training in all, after which it ends: a budget with which recipes "
        "compare. Default: no limit.",
        _LENGTH,
    )
    unroll_length: int = flag(
        20,
        "Optimizee steps per meta-step (truncated unroll). With the number of steps of an epoch, "
        "backpropagation is through the whole trajectory.",
        _LENGTH,
    )
    period_epochs: int | None = flag(
        None,
        "Epochs between validations (T_period). Default: 100, for rnnprop 10.",
        _LENGTH,
    )
    validation_epochs: int = flag(20, "Trajectories per validation.", _LENGTH)
    validation_score: str = flag(
        "last_unroll",
        "The loss of a validation trajectory: the mean over its last_unroll, or the one of the "
        "final_minibatch as in the legacy code (of --scoring_examples if there are such).",
        _LENGTH,
    )
    random_num_steps: tuple[int, ...] = flag(
        (),
        "low,high: draw the number of steps of each epoch log-uniformly, rounded to whole unrolls, "
        "instead of taking --num_steps; for every estimator. Imitation takes --num_steps.",
        _LENGTH,
    )
    random_num_unrolls: tuple[float, ...] | None = flag(
        None,
        "minimum,scale[,maximum]: draw the number of unrolls of an epoch, round(Exp(scale)) + "
        "minimum, instead of following from the number of steps.",
        _LENGTH,
    )
    random_unroll_length: tuple[float, ...] | None = flag(
        None, "minimum,scale,maximum: the same for the steps of an unroll.", _LENGTH
    )

    def check_random_lengths(self) -> None:
        """Raises InputError unless random lengths go together and have the numbers they need."""
        bounds = self.random_num_steps
        ordered = not bounds or (len(bounds) == 2 and 0 < bounds[0] <= bounds[1])
        expected = "low,high with 0 < low <= high"
        require(ordered, "random_num_steps", ",".join(map(str, bounds)), expected)
        if bounds and self.random_num_unrolls is not None:
            raise errors.InputError(
                "--random_num_steps cannot be combined with --random_num_unrolls: leave one of "
                "them out"
            )
        steps, unrolls = self.random_unroll_length, self.random_num_unrolls
        require(
            steps is None or len(steps) == 3,
            "random_unroll_length",
            ",".join(map(str, steps or ())),
            "minimum,scale,maximum",
        )
        if (steps is None) != (unrolls is None):
            raise errors.InputError(
                "--random_num_unrolls and --random_unroll_length belong together: give both or none"
            )


@dataclasses.dataclass(frozen=True)
class TechniqueFlags:
    """Curriculum, imitation and self-improving."""

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
    imitation_choice: str = flag(
        "epoch",
        "What r is the probability of: that an epoch or that an unroll imitates.",
        _IMITATION,
    )
    teachers: tuple[str, ...] = flag(
        ("adam:0.01", "sgd:0.1", "adagrad:0.01"),
        "The analytical rules to imitate, name:learning_rate; each epoch draws one. They are the "
        "rules of self-improving as well.",
        _IMITATION,
    )
    teacher_weights: tuple[float, ...] | None = flag(
        None, "How often each teacher is drawn, up to a factor. Default: equally often.", _IMITATION
    )
    steps_per_label: int = flag(1, "The teacher's steps per step of the student (k).", _IMITATION)
    shared_meta_optimizer: bool = flag(
        False,
        "Let imitation and meta-loss share the meta-optimizer's moments; by default each has its "
        "own, as in the legacy code.",
        _IMITATION,
    )
    self_improving_epochs: int = flag(
        0,
        "Epochs in which teachers take some of the steps: at first as often as the learned rule, "
        "then linearly less, to 0 (the paper: 100). 0 for no self-improving.",
        _MIXING,
    )
    self_improving_share: float | None = flag(
        None,
        "The teachers' share of the steps of the first of these epochs, all of them together. "
        "Default: all rules alike, 0.75 with three teachers (section 4.2); section 5.3 says 0.33 "
        "for each, that is 1.",
        _MIXING,
    )
