"""Teachers and the imitation loss."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.training import imitation, unrolls
from tests.training import problems


def lesson_of(teacher, num_labels, steps_per_label=1):
    optimizee = problems.SmallQuadratic(tf.float32)
    params = optimizee.init(None)
    start = unrolls.Trajectory(params, teacher.init(params))
    batches = lambda t: optimizee.batch(None, t)
    return start, imitation.teach(teacher, optimizee, start, batches, num_labels, steps_per_label)


@pytest.mark.parametrize("name", rules.analytical_names())
def test_a_student_that_equals_its_teacher_has_no_loss(name):
    teacher = rules.from_spec(f"{name}:0.01")
    start, lesson = lesson_of(teacher, 10)
    losses, _, _ = imitation.imitation_gradient(
        teacher, teacher.init(start.params), lesson, teacher.weights()
    )
    np.testing.assert_array_equal(losses, np.zeros(10))


def test_labels_sum_the_teachers_steps_and_gradients_are_the_first_of_each():
    teacher = rules.from_spec("adam:0.01")
    _, fine = lesson_of(teacher, 12)
    start, coarse = lesson_of(teacher, 4, steps_per_label=3)
    for a, b in zip(coarse.labels, fine.labels):
        expected = np.asarray(b).reshape(4, 3, *b.shape[1:]).sum(axis=1)
        np.testing.assert_allclose(a, expected, rtol=1e-6, atol=1e-9)
    for a, b in zip(coarse.gradients, fine.gradients):
        np.testing.assert_array_equal(a, b[::3])
    for first, last, labels in zip(start.params, coarse.end.params, coarse.labels):
        np.testing.assert_allclose(first + tf.reduce_sum(labels, axis=0), last, rtol=1e-5)


def test_the_loss_and_its_gradient_have_their_closed_form():
    # The student is u = -w g, so the loss of a step is ||label + w g||^2 / (2 n).
    student = rules.from_spec("sgd:0.5")
    _, lesson = lesson_of(rules.from_spec("sgd:0.1"), 5)
    losses, gradient, _ = imitation.imitation_gradient(student, (), lesson, student.weights())
    g = np.concatenate([np.reshape(x, [5, -1]) for x in lesson.gradients], axis=1)
    np.testing.assert_allclose(losses, 0.4**2 * np.sum(g**2, axis=1) / (2 * 4), rtol=1e-5)
    np.testing.assert_allclose(gradient["learning_rate"], 0.4 * np.sum(g**2) / 4, rtol=1e-5)
