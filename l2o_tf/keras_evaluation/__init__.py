"""Rules as drop-in optimizers of Keras models: tasks, trainings, speed-ups over Adam."""
