"""Learning to optimize with TensorFlow 2, Keras and Sonnet."""

__version__ = "0.1.0"
