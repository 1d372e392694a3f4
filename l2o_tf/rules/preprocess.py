"""What a recurrent rule sees of a gradient."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf


def log_and_sign(grads: tf.Tensor, k: float = 5.0) -> tf.Tensor:
    """Magnitude and sign of a gradient, each in a range that a network can take in.

    Source: Andrychowicz et al. 2016, appendix A; legacy `preprocess.py`, class LogAndSign.

    Args:
        grads: gradients [...].
        k: gradients below exp(-k) are told apart by the sign part only.

    Returns:
        Features [..., 2, N] for gradients [..., N]: max(ln(|g| + eps) / k, -1) with the machine
        epsilon of the dtype, and clip(g exp(k), -1, 1).
    """
    epsilon = np.finfo(grads.dtype.as_numpy_dtype).eps
    magnitude = tf.maximum(tf.math.log(tf.abs(grads) + epsilon) / k, -1.0)
    sign = tf.clip_by_value(grads * math.exp(k), -1.0, 1.0)
    return tf.stack([magnitude, sign], axis=-2)


class Moments(NamedTuple):
    """Running means [num_coordinates] of g and g^2, and the number of steps taken."""

    first: tf.Tensor
    second: tf.Tensor
    step: tf.Tensor


def initial_moments(num_coordinates: int, dtype: tf.DType) -> Moments:
    """The moments before the first step."""
    zeros = tf.zeros([num_coordinates], dtype)
    return Moments(zeros, zeros, tf.constant(0))


def adam_features(
    grads: tf.Tensor,
    moments: Moments,
    beta1: float = 0.95,
    beta2: float = 0.95,
    epsilon: float = 1e-8,
) -> tuple[tf.Tensor, Moments]:
    """The two directions that Adam and RMSProp would take, scale-free.

    Source: Lv et al. 2017, section 4.1; legacy `meta_rnnprop_train.py`.

    Args:
        grads: gradients [N].
        moments: the moments before this step.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        epsilon: added to the root of the second moment.

    Returns:
        Features [2, N], bias-corrected m / (sqrt(v) + epsilon) and g / (sqrt(v) + epsilon), and
        the moments after this step.
    """
    step = moments.step + 1
    t = tf.cast(step, grads.dtype)
    first = beta1 * moments.first + (1 - beta1) * grads
    second = beta2 * moments.second + (1 - beta2) * tf.square(grads)
    scale = _root(second / (1 - beta2**t)) + epsilon
    features = tf.stack([first / (1 - beta1**t) / scale, grads / scale])
    return features, Moments(first, second, step)


def _root(x: tf.Tensor) -> tf.Tensor:
    # A pixel that is always black has g = 0 for ever, and the derivative of a plain root at 0 is
    # infinite: second derivatives would be NaN.
    positive = x > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, x, 1)), 0)
