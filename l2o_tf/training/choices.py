"""The names that flags of meta-training choose from; --help needs them without TensorFlow."""

META_OPTIMIZERS = {"adam": 1e-3, "rmsprop": 1e-6}  # With their default learning rates.
OBJECTIVES = ("sum", "mean", "log")
REGULARIZERS = ("none", "jacob", "hessian", "hessian-ev", "hessian-esd")
REGULARIZER_TIMES = ("always", "prior", "posterior")
