"""Measurements of speed and memory, behind `python -m l2o_tf.benchmark`."""
