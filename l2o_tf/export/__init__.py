"""Meta-training in lanes of many seeds, as programs that run without TensorFlow."""
