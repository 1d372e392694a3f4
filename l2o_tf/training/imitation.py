"""Off-policy imitation of analytical rules (Algorithm 2 of the paper).

The teacher runs its own trajectory; the student is given the teacher's gradients and learns to
return the teacher's parameter changes.
"""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import coordinates
from l2o_tf.optimizees.base import Optimizee, Params
from l2o_tf.rules.base import State, UpdateRule, Weights
from l2o_tf.training import unrolls
from l2o_tf.training.objectives import Objective, SumOfLosses
from l2o_tf.training.segment import FirstState


class Lesson(NamedTuple):
    """What a teacher shows in num_labels steps of the student.

    Attributes:
        gradients: tensors [num_labels, *shape_i], the teacher's gradients.
        labels: tensors [num_labels, *shape_i], the teacher's parameter changes.
        end: where the teacher's trajectory stands afterwards.
    """

    gradients: Params
    labels: Params
    end: unrolls.Trajectory


def teach(
    teacher: UpdateRule,
    optimizee: Optimizee,
    trajectory: unrolls.Trajectory,
    batches: unrolls.Batches,
    num_labels: int,
    steps_per_label: int = 1,
) -> Lesson:
    """Runs a teacher for num_labels * steps_per_label steps.

    With k > 1 steps per label the student sees the first of k gradients and the label is the
    sum of k updates (legacy `data_generator.py`, mt_k).
    """
    num_steps = num_labels * steps_per_label
    watch = unrolls.Watch(gradients=True, updates=True)
    run = unrolls.unroll(teacher, optimizee, trajectory, batches, num_steps, watch=watch)

    def grouped(recorded):
        return tf.reshape(recorded, [num_labels, steps_per_label, *recorded.shape[1:]])

    gradients = [grouped(g)[:, 0] for g in run.gradients]
    labels = [tf.reduce_sum(grouped(u), axis=1) for u in run.updates]
    return Lesson(gradients, labels, run.end)


def imitation_gradient(
    student: UpdateRule,
    state: State,
    lesson: Lesson,
    weights: Weights,
    objective: Objective = SumOfLosses(),
    first_state: FirstState | None = None,
) -> tuple[tf.Tensor, Weights, State]:
    """Differentiates sum_t ||label_t - update_t||^2 / (2 num_coordinates).

    Source: paper equation (1), with the legacy code's normalisation.

    Args:
        student: the learned rule.
        state: its state before the lesson; no gradient flows into it unless by `first_state`.
        lesson: what the teacher showed.
        weights: the student's meta-parameters by name.
        objective: what is made of the losses: their sum, or their mean.
        first_state: see `segment.Segment`.

    Returns:
        The losses [num_labels], the gradient of the objective by name, and the student's state
        after the lesson.
    """
    params = lesson.end.params
    # Where the teacher stood: from its end back by the changes that were still to come.
    points = [p - tf.cumsum(label, reverse=True) for p, label in zip(params, lesson.labels)]
    num_coordinates = coordinates.count(params)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        state = state if first_state is None else first_state(weights, state)
        updates, state = student.replay(lesson.gradients, state, params, weights, points)
        losses = tf.add_n(
            [
                tf.reduce_sum(tf.square(label - u), axis=list(range(1, u.shape.rank)))
                for label, u in zip(lesson.labels, updates)
            ]
        ) / (2 * num_coordinates)
        total = objective.imitation_total(losses)
    gradient = tape.gradient(total, weights, unconnected_gradients="zero")
    return losses, gradient, state
