"""Any update rule as a Keras optimizer."""

import base64
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from l2o_tf import artifacts, loading, rules
from l2o_tf.core import coordinates, errors, loops, seeds
from l2o_tf.rules.base import RULES, State, UpdateRule, Weights

RuleConfig = dict[str, Any]
Monitor = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], None]

_DTYPE = tf.float32  # Of rules; parameters and gradients of other dtypes are cast.


@keras.saving.register_keras_serializable(package="l2o_tf")
class LearnedOptimizer(keras.optimizers.Optimizer):
    """Trains a Keras model with an update rule, learned or analytical.

    All coordinates of all variables are one call of the rule. Its weights and its state are
    variables of this optimizer, so that whatever saves the optimizer saves them; its configuration
    describes the rule completely, weights included, and needs no file of the rule.

    Clipping, weight decay, averages of the variables, gradient accumulation and loss scaling are
    Keras'. Weight decay is decoupled and in proportion to `learning_rate`, hence to 1 rather than
    to 0.001. Variables without a gradient, and the state of their coordinates, stay as they are;
    the rule sees zeros. Sparse gradients become dense before anything else happens to them, so
    that rows which occur several times count as their sum, also where they are clipped.

    Attributes:
        monitor: called in every step with the gradients and the updates, tensors shaped like the
            variables, for `callbacks.UpdateStatistics`.
    """

    def __init__(
        self,
        rule: str | os.PathLike | UpdateRule | RuleConfig,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule | Callable = 1.0,
        seed: int = 0,
        name: str = "learned_optimizer",
        **kwargs,
    ):
        """Creates the optimizer with a copy of the rule's weights.

        Args:
            rule: what `l2o_tf.load` takes (a pretrained rule, a directory, a `.l2l` file,
                "adam:0.01"), an update rule, or the name of a learned rule of which there is no
                pretrained one, such as "scale", for random weights, to load others into.
            learning_rate: a multiplier of the rule's updates.
            seed: of the rule's initial state, and of random weights.
            name: the optimizer's name.
            **kwargs: of `keras.optimizers.Optimizer`: weight_decay, clipnorm, clipvalue,
                global_clipnorm, use_ema, ema_momentum, ema_overwrite_frequency,
                loss_scale_factor, gradient_accumulation_steps.

        Raises:
            InputError: if there is no such rule, or if Keras does not run on TensorFlow.
        """
        if keras.backend.backend() != "tensorflow":
            raise errors.InputError(
                f"LearnedOptimizer needs Keras on TensorFlow, but its backend is"
                f" {keras.backend.backend()}; set KERAS_BACKEND=tensorflow"
            )
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.seed = seed
        self.monitor: Monitor | None = None
        self._rule = _Untracked(_find_rule(rule, seed))
        self._weights = {
            key: self._add_constant(value, f"rule_{key.replace('/', '_')}", "only_first_replica")
            for key, value in self._rule.rule.weights().items()
        }
        self._state: list[keras.Variable] = []

    def rule_weights(self) -> Weights:
        """The rule's weights by name, float32 tensors."""
        return {key: tf.convert_to_tensor(variable) for key, variable in self._weights.items()}

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the rule's state for the variables of a model."""
        if self.built:
            return
        super().build(variables)
        if not variables:
            return
        with tf.init_scope():
            params = [_to_tensor(v) for v in variables]
            seed = seeds.make_seed(self.seed, "keras optimizer")
            state = self._rule.init(params, seed, self.rule_weights())
        self._state = [
            self._add_constant(value, f"state_{index}") for index, value in enumerate(state)
        ]

    def apply(self, grads, trainable_variables=None) -> None:
        """Takes one step; see `keras.optimizers.Optimizer.apply`."""
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
        variables = trainable_variables or self._trainable_variables
        if len(variables) == len(grads):  # If not, Keras says what is wrong.
            grads = [_dense(grad, variable) for grad, variable in zip(grads, variables)]
        super().apply(grads, trainable_variables)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes this optimizer of, with its rule's present weights.

        Raises:
            InputError: if the rule is not registered by name.
        """
        rule = _rule_config(self._rule.rule, self.rule_weights())
        return {**super().get_config(), "rule": rule, "seed": self.seed}

    def load_own_variables(self, store) -> None:
        """Loads all variables; see `keras.optimizers.Optimizer.load_own_variables`.

        Raises:
            InputError: if they are those of another rule or of another model.
        """
        if len(store.keys()) == len(self.variables):  # If not, Keras says so and loads none.
            for index, variable in enumerate(self.variables):
                expected, found = list(variable.shape), list(store[str(index)].shape)
                if found != expected:
                    raise errors.InputError(
                        f"{variable.name} of the optimizer is {expected}, but {found} in the file:"
                        " it belongs to another rule or another model"
                    )
        super().load_own_variables(store)

    def _add_constant(self, value: tf.Tensor, name: str, aggregation: str = "none"):
        value = value.numpy()
        return self.add_variable(
            value.shape,
            initializer=lambda shape, dtype: tf.constant(value, dtype, shape),
            dtype=value.dtype.name,
            aggregation=aggregation,
            name=name,
        )

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # The place of Keras' loop over the variables: clipping and weight decay are done, and
        # under a distribution strategy this is one replica with gradients of its own.
        raw = [getattr(v, "value", v) for v in trainable_variables]
        given = {
            self._get_variable_index(v): grad
            for grad, v in self._all_reduce_sum_gradients(zip(grads, raw))
        }
        variables = self._trainable_variables
        params = [_to_tensor(v) for v in variables]
        gradients = [
            tf.cast(given[i], _DTYPE) if i in given else tf.zeros_like(p)
            for i, p in enumerate(params)
        ]
        updates, state = self._rule.step(
            gradients,
            [tf.convert_to_tensor(v) for v in self._state],
            params,
            self.rule_weights(),
            given=tuple(i in given for i in range(len(variables))),
        )
        updates = [tf.cast(learning_rate, _DTYPE) * update for update in updates]
        if self.monitor is not None:
            self.monitor(gradients, updates)
        changed = [i for i in range(len(variables)) if i in given]
        additions = [tf.cast(updates[i], variables[i].dtype) for i in changed]

        def assign(distribution, additions, state):
            for i, addition in zip(changed, additions):
                _on_each_device(distribution, self.assign_add, variables[i], addition)
            for variable, value in zip(self._state, state):
                _on_each_device(distribution, self.assign, variable, value)

        # Each replica has computed the same from the sum of all gradients.
        tf.__internal__.distribute.interim.maybe_merge_call(
            assign, self._distribution_strategy, additions, state
        )


class _Untracked:
    """A rule and its compiled step where neither Keras nor tf.train.Checkpoint looks for variables.

    Those of the rule are not the ones in use.
    """

    def __init__(self, rule: UpdateRule):
        self.rule = rule
        self._structure: State = ()
        # XLA takes a third of an LSTM's time away and adds to that of a formula.
        self.step = (loops.compiled if rule.learned else loops.in_graph)(self._step)

    def init(self, params: Sequence[tf.Tensor], seed: seeds.Seed, weights: Weights):
        """`UpdateRule.init` with a flat state."""
        state = self.rule.init(params, seed, weights)
        self._structure = tf.nest.map_structure(lambda _: 0, state)
        return tf.nest.flatten(state)

    def _step(self, grads, state, params, weights, given):
        """`UpdateRule.update` with a flat state, where the parameters that are not `given` rest."""
        packed = tf.nest.pack_sequence_as(self._structure, state)
        updates, packed = self.rule.update(grads, packed, params, weights)
        after = tf.nest.flatten(packed)
        if not all(given):
            moves = coordinates.flatten([tf.fill(p.shape, g) for p, g in zip(params, given)])
            # The last axis of whatever there is of each coordinate are the coordinates.
            after = [
                tf.where(moves, new, old) if new.shape[-1:] == moves.shape else new
                for new, old in zip(after, state)
            ]
        return updates, after


def _find_rule(source, seed: int) -> UpdateRule:
    if isinstance(source, UpdateRule):
        return source
    if isinstance(source, dict):
        return _rule_from_config(source)
    untrained = source in rules.learned_names() and source not in loading.list_pretrained()
    if untrained and not os.path.exists(source):
        logging.warning(
            "LearnedOptimizer(%r) has random weights until others are loaded; trained rules: %s",
            source,
            ", ".join(loading.list_pretrained()) or "none in this package",
        )
        return rules.create_learned(source, seeds.make_seed(seed, "rule"))
    return loading.load(source)


def _rule_config(rule: UpdateRule, weights: Weights) -> RuleConfig:
    name = artifacts.saved_name(rule)
    arrays = {key: value.numpy().astype("<f4") for key, value in weights.items()}
    texts = {key: base64.b64encode(value.tobytes()).decode() for key, value in arrays.items()}
    return {"name": name, "options": rule.options(), "weights": texts, **artifacts.plugin(rule)}


def _rule_from_config(config: RuleConfig) -> UpdateRule:
    RULES.require(config.get("name"), config.get("plugin"))
    try:
        rule = rules.create(config["name"], **config["options"])
        if rule.learned:
            flat = {
                key: np.frombuffer(base64.b64decode(text), "<f4")
                for key, text in config["weights"].items()
            }
            shapes = {key: value.shape for key, value in rule.weights().items()}
            rule.assign({key: tf.reshape(value, shapes[key]) for key, value in flat.items()})
    except Exception as error:  # Damage surfaces as errors of Python, NumPy and TensorFlow.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise errors.InputError(f"the rule in an optimizer's config is damaged: {reason}") from None
    return rule


def _to_tensor(variable) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(variable), _DTYPE)


def _dense(grad, variable) -> tf.Tensor | None:
    if isinstance(grad, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(grad.values, grad.indices, variable.shape[0])
    return grad


def _on_each_device(distribution, assign, variable, value) -> None:
    variable = getattr(variable, "value", variable)
    distribution.extended.update(variable, assign, args=(value,), group=False)
