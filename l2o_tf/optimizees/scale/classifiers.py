"""Small classifiers: softmax regressions on vectors and on ids, perceptrons."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.optimizees import base
from l2o_tf.optimizees.scale import datasets, problem

Activation = Callable[[tf.Tensor], tf.Tensor]


class SoftmaxClassifier(problem.DataProblem):
    """The mean cross entropy of some network, in nats.

    With two classes it is the logistic loss of the first logit, for which label 1 means a large
    first logit; the gradient with respect to the second logit is 0 (legacy `SoftmaxClassifier`).
    A parameter tensor starts at N(0, 1.44 / length of its first axis).
    """

    def __init__(
        self,
        param_shapes: Sequence[problem.Shape],
        examples: datasets.Examples,
        batch_size: int,
        num_classes: int,
    ):
        """Keeps the data.

        Args:
            param_shapes: the shapes of the parameter tensors.
            examples: data [num_examples, *shape] and labels [num_examples].
            batch_size: the number of examples in a batch.
            num_classes: the number of classes.

        Raises:
            InputError: if a label is not in [0, num_classes).
        """
        super().__init__(param_shapes, examples, batch_size)
        if examples.labels.min() < 0 or examples.labels.max() >= num_classes:
            raise errors.InputError(
                f"labels go from {examples.labels.min()} to {examples.labels.max()};"
                f" {num_classes} classes allow 0 to {num_classes - 1}"
            )
        self.num_classes = num_classes

    def initial(self, seed, shape):
        return seeds.normal(seed, shape, 1.2 / shape[0] ** 0.5)

    def logits(self, params: base.Params, data: tf.Tensor) -> tf.Tensor:
        """Maps data [batch_size, *shape] to [batch_size, num_classes]."""
        raise NotImplementedError

    def loss(self, params, batch):
        logits = self.logits(params, tf.cast(batch.data, params[0].dtype))
        if self.num_classes == 2:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(
                labels=tf.cast(batch.labels, logits.dtype), logits=logits[:, 0]
            )
        else:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch.labels, logits)
        return tf.reduce_mean(losses)


class SoftmaxRegression(SoftmaxClassifier):
    """Linear logits; parameters w [num_features, num_classes] and b [num_classes]."""

    def __init__(self, examples: datasets.Examples, batch_size: int, num_classes: int):
        self.num_features = problem.num_features(examples)
        shapes = [(self.num_features, num_classes), (num_classes,)]
        super().__init__(shapes, examples, batch_size, num_classes)

    def logits(self, params, data):
        return tf.reshape(data, [-1, self.num_features]) @ params[0] + params[1]


class SparseSoftmaxRegression(SoftmaxClassifier):
    """Linear logits of a sum of embeddings of ids.

    The parameters are the embeddings [num_classes, num_features], for there are as many ids as
    classes, w [num_features, num_classes] and b [num_classes]. Gradients are dense tensors,
    where the legacy code has `IndexedSlices`.
    """

    def __init__(
        self, examples: datasets.Examples, batch_size: int, num_features: int, num_classes: int
    ):
        shapes = [(num_classes, num_features), (num_features, num_classes), (num_classes,)]
        super().__init__(shapes, examples, batch_size, num_classes)

    def logits(self, params, data):
        embeddings, w, b = params
        return self.embed(embeddings, tf.cast(data, tf.int32)) @ w + b

    def embed(self, embeddings: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """Sums the embeddings of ids [batch_size, num_ids] to [batch_size, num_features]."""
        # Unlike gather, gather_nd with a batch of indices has a dense gradient.
        return tf.reduce_sum(tf.gather_nd(embeddings, ids[..., None]), axis=1)


class OneHotSparseSoftmaxRegression(SparseSoftmaxRegression):
    """The same function by a matrix product with one-hot vectors."""

    def embed(self, embeddings, ids):
        return tf.reduce_sum(tf.one_hot(ids, self.num_classes, dtype=embeddings.dtype), 1) @ (
            embeddings
        )


class FullyConnected(SoftmaxClassifier):
    """A multi-layer perceptron; parameters w_0, b_0, w_1, b_1, ... start at N(0, stddev^2)."""

    def __init__(
        self,
        examples: datasets.Examples,
        batch_size: int,
        num_classes: int,
        hidden_sizes: Sequence[int] = (32, 64),
        activation: Activation = tf.sigmoid,
        initial_stddev: float = 0.01,
    ):
        """Builds the problem.

        Args:
            examples: data [num_examples, *shape], flattened, and labels [num_examples].
            batch_size: the number of examples in a batch.
            num_classes: the number of classes.
            hidden_sizes: the numbers of units of the hidden layers.
            activation: of the hidden layers.
            initial_stddev: 0.01 in the legacy evaluation, 1 in the paper's training code.
        """
        sizes = [problem.num_features(examples), *hidden_sizes, num_classes]
        shapes = []
        for inputs, outputs in zip(sizes, sizes[1:]):
            shapes += [(inputs, outputs), (outputs,)]
        super().__init__(shapes, examples, batch_size, num_classes)
        self.activation, self.initial_stddev = activation, initial_stddev

    def initial(self, seed, shape):
        return seeds.normal(seed, shape, self.initial_stddev)

    def logits(self, params, data):
        outputs = tf.reshape(data, [-1, self.param_shapes[0][0]])
        for w, b in zip(params[:-2:2], params[1:-2:2]):
            outputs = self.activation(outputs @ w + b)
        return outputs @ params[-2] + params[-1]
