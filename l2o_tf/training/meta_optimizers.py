"""What changes a rule's weights: Adam, or the guarded RMSProp of L2O-Scale."""

import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import errors
from l2o_tf.rules.base import UpdateRule
from l2o_tf.training.choices import META_OPTIMIZERS

_CLIP = 1e4


def create(
    name: str, learning_rate: float | None = None, l2: float = 0.0, weight_decay: float = 0.0
) -> UpdateRule:
    """Creates a meta-optimizer.

    Args:
        name: "adam", or "rmsprop" for L2O-Scale's: decay 0.9, epsilon 1e-20, and gradients
            guarded as in `Guarded` at 1e4. Source: legacy L2O-Scale `metaopt.py`.
        learning_rate: 1e-3 for Adam and 1e-6 for RMSProp by default.
        l2: the factor of the sum of squared weights that is added to the meta-objective.
        weight_decay: what is taken off the weights at each step, as a multiple of the learning
            rate and the weights; with Adam, this is AdamW.

    Raises:
        InputError: for another name, or a learning rate that is not positive.
    """
    if name not in META_OPTIMIZERS:
        known = ", ".join(META_OPTIMIZERS)
        raise errors.InputError(f"unknown meta-optimizer {name!r}; known: {known}")
    rate = META_OPTIMIZERS[name] if learning_rate is None else learning_rate
    if name == "adam":
        rule = rules.create("adam", learning_rate=rate)
    else:
        rule = Guarded(rules.create("rmsprop", learning_rate=rate, decay=0.9, epsilon=1e-20), _CLIP)
    if l2:
        rule = WithPenalty(rule, l2)
    return WithWeightDecay(rule, rate * weight_decay) if weight_decay else rule


class _Wrapper(UpdateRule):
    """Another rule, with something done before or after it."""

    def __init__(self, inner: UpdateRule, name: str | None = None):
        super().__init__(name=name)
        self._inner = inner

    def init(self, params, seed=None, weights=None):
        return self._inner.init(params, seed, weights)


class Guarded(_Wrapper):
    """Sets gradient elements that are not finite to 0 and clips the others to [-limit, limit]."""

    def __init__(self, inner: UpdateRule, limit: float, name: str | None = None):
        super().__init__(inner, name=name)
        self._limit = limit

    def update(self, grads, state, params, weights=None):
        finite = [tf.where(tf.math.is_finite(g), g, tf.zeros_like(g)) for g in grads]
        clipped = [tf.clip_by_value(g, -self._limit, self._limit) for g in finite]
        return self._inner.update(clipped, state, params, weights)


class WithPenalty(_Wrapper):
    """Adds the gradient of factor * sum(p^2), 2 factor p."""

    def __init__(self, inner: UpdateRule, factor: float, name: str | None = None):
        super().__init__(inner, name=name)
        self._factor = factor

    def update(self, grads, state, params, weights=None):
        grads = [g + 2 * self._factor * p for g, p in zip(grads, params)]
        return self._inner.update(grads, state, params, weights)


class WithWeightDecay(_Wrapper):
    """Takes factor * p off the parameters, whatever the gradients are (Loshchilov, Hutter 2019)."""

    def __init__(self, inner: UpdateRule, factor: float, name: str | None = None):
        super().__init__(inner, name=name)
        self._factor = factor

    def update(self, grads, state, params, weights=None):
        updates, state = self._inner.update(grads, state, params, weights)
        return [u - self._factor * p for u, p in zip(updates, params)], state
