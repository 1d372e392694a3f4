"""Image data sets, held in memory: those of TensorFlow Datasets and the embedded digits."""
