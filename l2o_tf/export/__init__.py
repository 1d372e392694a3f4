"""Trainings, evaluations and rules as programs that run without TensorFlow."""
