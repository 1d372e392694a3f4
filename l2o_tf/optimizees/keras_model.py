"""Any Keras model with a loss as an optimizee."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.data import datasets
from l2o_tf.optimizees import base, checks, classifier, keras_starts

Loss: TypeAlias = str | keras.losses.Loss | Callable[[Any, Any], tf.Tensor]


class KerasBatch(NamedTuple):
    """One minibatch.

    Attributes:
        x: the model's inputs, a nest of tensors [batch_size, ...].
        y: what the loss is given besides the outputs, a nest of tensors [batch_size, ...].
        random_states: the state of each seed generator of the model, such as a Dropout's.
    """

    x: Any
    y: Any
    random_states: list[tf.Tensor]


class KerasModel(base.Optimizee):
    """The mean loss of a Keras model on random minibatches, with the model's own extra losses.

    The parameters are the values of `model.trainable_variables`, in that order. The model is
    called as in training: batch normalisation uses the statistics of the batch, Dropout draws a
    new mask at every step (from the seed; XLA draws other masks than TensorFlow). Other
    non-trainable variables, such as moving statistics and frozen weights, keep the values that
    they have when the optimizee is created. The model's variables are never written.

    A model that XLA cannot compile, such as one with a RandomRotation, runs without it, and a
    warning says so when the optimizee is made.

    Batch normalisation of Keras stops a gradient inside the variance, so its second derivatives
    are not exact. XLA on CPUs runs the gradients of Keras' convolutions slowly inside loops.
    """

    checks_itself = True

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        data: datasets.Dataset | tuple[Any, Any],
        batch_size: int = classifier.BATCH_SIZE,
        initial: Callable[[seeds.Seed], list[tf.Tensor]] | None = None,
    ):
        """Takes a snapshot of the model's non-trainable variables and keeps the data in memory.

        Args:
            model: a built model.
            loss: the name of a Keras loss, a Keras loss, or a function of (y_true, y_pred) that
                returns a tensor, whose mean is the loss. As in `Model.compile`, a function is
                given both as float32 and of one rank: of y [N] and outputs [N, 1] both are [N, 1].
                Nests it is given as they are.
            data: a data set, whose images are scaled to [0, 1], or (x, y), nests of arrays
                [num_examples, ...].
            batch_size: the number of examples in a minibatch.
            initial: draws the initial parameters from a seed, int32 [2]. By default each variable
                is drawn from the distribution of its initializer; give this for initializers
                that are not Keras's, or to start from the weights that a model has.

        Raises:
            InputError: if the model is not built or not made for the data, if it has no trainable
                variables or others than float32 ones, if the data are not arrays, empty or of
                different lengths, if an initializer is not known, or if the loss is not.
        """
        if not model.built:
            raise errors.InputError(
                f"model {model.name!r} is not built; give it an Input or call it on data first"
            )
        _check_variables(model)
        self.model, self.batch_size = model, batch_size
        self.loss_function = _loss_function(loss)
        self._read(data)
        self._initial = initial or _by_seed(keras_starts.draws_of(model))
        has_mode = "training" in inspect.signature(model.call).parameters
        self._mode = {"training": True} if has_mode else {}
        self._generators = [_is_random_state(v) for v in model.non_trainable_variables]
        with tf.init_scope():
            self._constants = [tf.constant(v.numpy()) for v in model.non_trainable_variables]
        checks.check(self, f"model {model.name!r}")
        checks.ask_xla(self, f"model {model.name!r}")

    def init(self, seed):
        return self._initial(seed)

    def batch(self, seed, step):
        seed = seeds.fold(seed, seeds.Stream.MINIBATCHES, step)
        indices = seeds.uniform(
            seeds.fold(seed, 0), [self.batch_size], 0, self._num_examples, tf.int32
        )
        states = [
            tf.cast(seeds.fold(seed, 1, i), state.dtype)
            for i, (state, random) in enumerate(zip(self._constants, self._generators))
            if random
        ]
        x, y = self.gather(indices)
        return KerasBatch(x, y, states)

    def gather(self, indices: tf.Tensor) -> tuple[Any, Any]:
        """Returns x and y of the given indices [batch_size]."""
        x, y = tf.nest.map_structure(lambda tensor: tf.gather(tensor, indices), self._data)
        if self._scale is not None:
            x = tf.cast(x, tf.float32) * self._scale
        return x, y

    def loss(self, params, batch):
        random_states = iter(batch.random_states)
        constants = [
            next(random_states) if random else constant
            for constant, random in zip(self._constants, self._generators)
        ]
        outputs, _, extra_losses = self.model.stateless_call(
            list(params), constants, batch.x, return_losses=True, **self._mode
        )
        # Under a policy of mixed precision, outputs and losses are float16.
        losses = tf.cast(self.loss_function(batch.y, outputs), tf.float32)
        return tf.reduce_mean(losses) + sum(tf.cast(extra, tf.float32) for extra in extra_losses)

    def _read(self, data):
        self._scale = None
        if isinstance(data, datasets.Dataset):
            self._scale = np.float32(data.scale)
            data = data.images, data.labels
        self._data = _constants(data)
        lengths = {tensor.shape[0] for tensor in tf.nest.flatten(self._data)}
        if len(lengths) != 1 or 0 in lengths:
            raise errors.InputError(
                f"the data have {sorted(lengths)} examples; give x and y of the same length"
            )
        (self._num_examples,) = lengths
        x, expected = self._data[0], getattr(self.model, "input_shape", None)
        if tf.is_tensor(x) and isinstance(expected, tuple):
            if not tf.TensorShape(expected[1:]).is_compatible_with(x.shape[1:]):
                raise errors.InputError(
                    f"model {self.model.name!r} needs examples of shape {expected[1:]}, the data"
                    f" have {tuple(x.shape[1:])}; resize them or change the model's Input"
                )


def _check_variables(model):
    variables = model.trainable_variables
    if not variables:
        raise errors.InputError(
            f"model {model.name!r} has no trainable variables; set trainable = True on a layer"
        )
    others = sorted({v.dtype for v in variables} - {"float32"})
    if others:
        raise errors.InputError(
            f"model {model.name!r} has trainable variables of dtype {', '.join(others)}: rules"
            " train float32 ones; build it with dtype float32 or a policy such as mixed_float16"
        )


def _constants(data):
    """(x, y) as nests of tensors in memory."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise errors.InputError(
            f"the data are a {type(data).__name__}: give a Dataset of l2o_tf.data or (x, y), arrays"
            " or nests of arrays [num_examples, ...]"
        )
    try:
        with tf.init_scope():
            constants = tuple(tf.nest.map_structure(tf.constant, part) for part in data)
    except (TypeError, ValueError) as error:
        raise errors.InputError(f"the data are not arrays: {errors.reason(error)}") from error
    if not all(tensor.shape.rank for tensor in tf.nest.flatten(constants)):
        raise errors.InputError(
            "the data hold single numbers: give arrays [num_examples, ...], not lists of numbers"
        )
    return constants


def _by_seed(draws):
    return lambda seed: [draw(seeds.fold(seed, i)) for i, draw in enumerate(draws)]


class _OfFunction(keras.losses.Loss):
    """A function of (y_true, y_pred) as the loss that `Model.compile` makes of it.

    Else a y [N] and outputs [N, 1] would broadcast to [N, N], and masks would not count.
    """

    def __init__(self, function):
        super().__init__(name="loss")
        self.function = function

    def __call__(self, y_true, y_pred, sample_weight=None):
        if tf.nest.is_nested(y_true) or tf.nest.is_nested(y_pred):
            return self.function(y_true, y_pred)
        # Keras divides by the number of replicas, because it adds up what they return.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return super().__call__(y_true, y_pred, sample_weight) * replicas

    def call(self, y_true, y_pred):
        losses = tf.convert_to_tensor(self.function(*_of_one_rank(y_true, y_pred)))
        # A single number Keras would not divide.
        return losses if losses.shape.rank else losses[None]


def _of_one_rank(a, b):
    """Two tensors, without the last axis of size 1 that only one has; [N] becomes [N, 1].

    Keras does this to y and the outputs before it calls a function, but exports nothing for it.
    """
    if abs(a.shape.rank - b.shape.rank) != 1:
        return a, b
    longer, shorter = (a, b) if a.shape.rank > b.shape.rank else (b, a)
    if longer.shape[-1] != 1:
        return a, b
    if shorter.shape.rank == 1:
        shorter = shorter[:, None]
    else:
        longer = tf.squeeze(longer, -1)
    return (longer, shorter) if a.shape.rank > b.shape.rank else (shorter, longer)


def _loss_function(loss):
    try:
        function = keras.losses.get(loss)
    except (ValueError, TypeError):
        function = None
    if not callable(function):
        raise errors.InputError(f"unknown loss {loss!r}; give a loss of Keras or a function")
    return function if isinstance(function, keras.losses.Loss) else _OfFunction(function)


def _is_random_state(variable):
    return variable.path.split("/")[-1].startswith("seed_generator_state")
