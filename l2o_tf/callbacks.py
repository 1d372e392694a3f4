"""Keras callbacks for models that are trained with an update rule."""

import os

import keras
import tensorflow as tf

from l2o_tf import keras_optimizer
from l2o_tf.core import errors


class UpdateStatistics(keras.callbacks.Callback):
    """Writes to TensorBoard what the rule makes of the gradients.

    For the whole model and for each variable, at the last step before each event: the Euclidean
    norms of the gradient and of the update, `gradient_norm` and `update_norm`, and
    `update_cosine`, the cosine of the angle between the update and the negative gradient, which is
    1 for steepest descent and 0 where one of the two is 0. Gradients are what the rule sees, after
    clipping; updates are multiplied by the learning rate, and come without weight decay. For the
    whole model also `skipped_steps`, how many the optimizer's guard has skipped so far.

    The model must be compiled with a `LearnedOptimizer`; `LearnedOptimizer("adam:0.001")` gives
    the same curves for Adam.
    """

    def __init__(self, log_dir: str | os.PathLike, every: int = 100):
        """Chooses where to write, and how often.

        Args:
            log_dir: the directory of the events.
            every: steps of the optimizer between two events, at least; with `steps_per_execution`
                they are written when an execution ends.

        Raises:
            InputError: if `every` is not positive.
        """
        super().__init__()
        if every < 1:
            raise errors.InputError(f"statistics every {every} steps: it must be 1 or more")
        self.log_dir, self.every = os.fspath(log_dir), every

    def on_train_begin(self, logs=None) -> None:
        """Lets the optimizer compute the statistics.

        Raises:
            InputError: if it is not a `LearnedOptimizer`.
        """
        self._optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        if not isinstance(self._optimizer, keras_optimizer.LearnedOptimizer):
            raise errors.InputError(
                f"UpdateStatistics needs a LearnedOptimizer, but the model is compiled with"
                f' {type(self._optimizer).__name__}; LearnedOptimizer("adam:0.001") is Adam'
            )
        self._statistics: tf.Variable | None = None
        if self._optimizer.built_for:
            with self.model.distribute_strategy.scope():
                self._statistics = _new_statistics(len(self._optimizer.built_for))
        self._optimizer.monitor = self._record
        self._writer = tf.summary.create_file_writer(self.log_dir)
        self._next_step = self._step() + self.every
        self._trace_again()

    def on_train_batch_end(self, batch, logs=None):
        """Writes an event if one is due."""
        step = self._step()
        if step < self._next_step or self._statistics is None:
            return
        self._next_step = step + self.every
        # Not the model's, which are fewer where some were frozen since the optimizer was built.
        variables = self._optimizer.built_for
        names = ["model", *(getattr(v, "path", v.name) for v in variables)]
        with self._writer.as_default(step=step):
            tf.summary.scalar("skipped_steps", self._optimizer.skipped_steps)
            tags = ("gradient_norm", "update_norm", "update_cosine")
            for tag, values in zip(tags, self._statistics.numpy()):
                for name, value in zip(names, values):
                    tf.summary.scalar(f"{tag}/{name}", value)

    def on_train_end(self, logs=None):
        """Ends the computation of statistics."""
        self._writer.close()
        self._optimizer.monitor = None
        self._trace_again()

    def _step(self) -> int:
        return int(keras.ops.convert_to_numpy(self._optimizer.iterations))

    def _trace_again(self):
        # What the optimizer does is part of the compiled training step.
        self.model.make_train_function(force=True)

    def _record(self, grads, updates):
        def sums(pairs):
            each = tf.stack([tf.reduce_sum(a * b) for a, b in pairs])
            return tf.concat([tf.reduce_sum(each, keepdims=True), each], axis=0)

        gradient_norm = tf.sqrt(sums(zip(grads, grads)))
        update_norm = tf.sqrt(sums(zip(updates, updates)))
        cosine = tf.math.divide_no_nan(-sums(zip(grads, updates)), gradient_norm * update_norm)
        if self._statistics is None:  # The model was built in this step.
            with tf.init_scope():
                self._statistics = _new_statistics(len(grads))
        self._statistics.assign(tf.stack([gradient_norm, update_norm, cosine]))


def _new_statistics(num_variables: int) -> tf.Variable:
    """[3, 1 + num_variables], of the whole model first; its shape is fixed, as XLA wants it."""
    return tf.Variable(
        tf.zeros([3, 1 + num_variables]),
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
