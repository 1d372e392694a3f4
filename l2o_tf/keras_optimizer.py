"""Any update rule as a Keras optimizer."""

import numbers
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from l2o_tf import keras_config, keras_routing, keras_sources, keras_step, presets
from l2o_tf.core import coordinates, errors, seeds
from l2o_tf.rules.base import UpdateRule, Weights, check_gradients

Monitor = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], None]

_DTYPE = tf.float32  # Of rules; parameters and gradients of other dtypes are cast.


@keras.saving.register_keras_serializable(package="l2o_tf")
class LearnedOptimizer(keras.optimizers.Optimizer):
    """Trains a Keras model, or any `tf.Variable`s, with an update rule, learned or analytical.

    All coordinates of all variables are one call of the rule. Its weights and its state are
    variables of this optimizer, so that whatever saves the optimizer saves them; its configuration
    describes the rule completely and needs no file of the rule: it holds the weights, or in a file
    that holds the optimizer's variables too, their hash.

    Clipping, weight decay, averages of the variables, gradient accumulation and loss scaling are
    Keras'. Weight decay is decoupled and in proportion to `learning_rate`, hence to 1 rather than
    to 0.001. Variables without a gradient, and the state of their coordinates, stay as they are;
    the rule sees zeros. A step that the guard skips changes no variable, by weight decay neither.
    Sparse gradients become dense before anything else happens to them, so that rows which occur
    several times count as their sum, also where they are clipped.

    The state takes, per parameter, 8 bytes for Adam, 320 for L2O-DM, 328 for RNNprop; a step needs
    about as much again for a moment.

    Attributes:
        monitor: called in every step with the gradients and the updates, tensors shaped like the
            variables, for `callbacks.UpdateStatistics`.
    """

    def __init__(
        self,
        rule: keras_sources.Source,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule | Callable = 1.0,
        seed: int = 0,
        name: str = "learned_optimizer",
        total_steps: int | None = None,
        guard: bool = True,
        max_relative_update: float | None = 0.1,
        route: keras_routing.Route | None = None,
        **kwargs: Any,
    ):
        """Creates the optimizer with a copy of the rule's weights.

        Args:
            rule: what `l2o_tf.load` takes (a pretrained rule, a directory, a `.l2l` file,
                "adam:0.01"), an update rule, or the name of a learned rule of which there is no
                pretrained one, such as "coordinatewise_rnn", for random weights, to load others
                into.
            learning_rate: a multiplier of the rule's updates.
            seed: of the rule's initial state, and of random weights.
            name: the optimizer's name.
            total_steps: the minibatches of the whole training, in the course of which the
                multiplier falls to 0, where it stays, along a cosine; None for one that does not.
            guard: whether to skip steps whose gradients or updates are not finite, and to limit
                the updates of learned rules. `skipped_steps` counts what was skipped.
            max_relative_update: with `guard`, the largest root mean square of the update of one
                variable by a learned rule, as a multiple of the one of the variable, or of 1 if
                that is larger; a longer update is scaled down. None for no limit.
            route: which variables formulas train in place of the rule, see `keras_routing.Router`:
                from a formula, such as "adam:0.001", to what chooses them. None for what the rule
                asks for (`UpdateRule.keras_route`), {} for all to the rule.
            **kwargs: of `keras.optimizers.Optimizer`: weight_decay, clipnorm, clipvalue,
                global_clipnorm, use_ema, ema_momentum, ema_overwrite_frequency,
                loss_scale_factor, gradient_accumulation_steps.

        Raises:
            InputError: if there is no such rule, formula or predicate, if the rule takes gradients
                elsewhere than at the variables, if a number is out of range, or if Keras does not
                run on TensorFlow.
        """
        if keras.backend.backend() != "tensorflow":
            raise errors.InputError(
                f"LearnedOptimizer needs Keras on TensorFlow, but its backend is"
                f" {keras.backend.backend()}; set KERAS_BACKEND=tensorflow"
            )
        if max_relative_update is not None and not _is_positive(max_relative_update):
            raise errors.InputError(
                f"max_relative_update={max_relative_update!r} must be a positive number, or None"
                " for no limit"
            )
        if total_steps is not None:
            learning_rate = _cosine(learning_rate, total_steps)
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.seed, self.guard = seed, guard
        self.max_relative_update = max_relative_update
        self.monitor: Monitor | None = None
        found, self._label, self._awaited = keras_sources.find_rule(rule, seed)
        if found.scores_elsewhere:
            raise errors.InputError(
                f"the rule {self._label} takes gradients at other points than its parameters"
                " (use_attention of scale), which a Keras model cannot hold; take one that does not"
            )
        self._router = keras_routing.Router(found.keras_route() if route is None else route)
        self._step = keras_step.RuleStep(
            found, keras_step.Guard(max_relative_update) if guard else None
        )
        self._weights = {
            key: self._add_constant(value, f"rule_{key.replace('/', '_')}", "only_first_replica")
            for key, value in found.weights().items()
        }
        self._state: list[keras.Variable] = []

    def __repr__(self):
        rate = self._learning_rate
        if isinstance(rate, keras.Variable):
            with tf.init_scope():  # Also while a train_step that prints it is traced.
                rate = float(rate.numpy())
        return (
            f"<LearnedOptimizer {self._label}: {_describe(self.rule)}, learning_rate="
            f"{rate if isinstance(rate, float) else type(rate).__name__}>"
        )

    @classmethod
    def from_preset(cls, source: str | os.PathLike, **options: Any) -> "LearnedOptimizer":
        """Creates the optimizer with a shared rule.

        Args:
            source: the name of a pretrained rule, a directory such as `l2o_tf.save_preset` writes,
                or "hf://user/repository" of the Hugging Face Hub, for which the extra
                `l2o-tf[hub]` is needed.
            **options: the other arguments of the class.

        Raises:
            InputError: if there is no such preset, or as the class does.
        """
        text = os.fspath(source)
        if not text.startswith(presets.HUB):
            return cls(source, **options)
        optimizer = cls(presets.load_preset(text), **options)
        optimizer._label = text.removeprefix(presets.HUB)
        return optimizer

    @property
    def rule(self) -> UpdateRule:
        """The rule, whose own weights are not the ones in use: those are `rule_weights`."""
        return self._step.rule

    @property
    def skipped_steps(self) -> int:
        """The number of steps, since this object was made, that the guard skipped."""
        return int(self._step.num_skipped.numpy())

    @property
    def built_for(self) -> tuple[keras.Variable | tf.Variable, ...]:
        """The variables whose gradients the rule is given, in order; none before `build`."""
        return tuple(self._trainable_variables) if self.built else ()

    def rule_weights(self) -> Weights:
        """The rule's weights by name, float32 tensors."""
        return {key: tf.convert_to_tensor(variable) for key, variable in self._weights.items()}

    def build(self, variables: Sequence[keras.Variable | tf.Variable]) -> None:
        """Creates the rule's state for the variables of a model, which need no values yet."""
        if self.built:
            return
        state = self._first_state(variables) if variables else []
        super().build(variables)  # After what may fail: Keras then takes it for built.
        self._state = [
            self._add_constant(value, f"state_{index}") for index, value in enumerate(state)
        ]

    def _first_state(self, variables):
        self._step.route(self._router, variables)
        with tf.init_scope():
            seed = seeds.make_seed(self.seed, "keras optimizer")
            return self._step.init([v.shape for v in variables], _DTYPE, seed, self.rule_weights())

    def apply(self, grads, trainable_variables=None) -> None:
        """Takes one step; see `keras.optimizers.Optimizer.apply`.

        Raises:
            InputError: if the gradients are not shaped like the variables, or if the rule has no
                weights yet.
        """
        grads = list(grads)
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
        variables = (
            self._trainable_variables if trainable_variables is None else trainable_variables
        )
        if trainable_variables is not None or len(variables) == len(grads):  # Else Keras says so.
            grads = _checked(grads, variables)
        self._check_weights()
        super().apply(grads, trainable_variables)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes this optimizer of, with its rule's present weights.

        Raises:
            InputError: if the rule, or a predicate of `route`, is not registered by name.
        """
        rule = keras_config.rule_config(self.rule, self.rule_weights(), self._label)
        return {
            **super().get_config(),
            "rule": rule,
            "seed": self.seed,
            "guard": self.guard,
            "max_relative_update": self.max_relative_update,
            "route": self._router.config(),
        }

    def load_own_variables(self, store) -> None:
        """Loads all variables; see `keras.optimizers.Optimizer.load_own_variables`.

        Where the state does not fit, because variables of the same model were frozen or released
        after the file was written, the rule is loaded and its state is a new one.

        Raises:
            InputError: if they are those of another rule or of another model.
        """
        if len(store.keys()) != len(self.variables):  # Keras says so and loads none.
            self._load_awaited(store)
            super().load_own_variables(store)
            return
        shapes = [(v, list(store[str(i)].shape)) for i, v in enumerate(self.variables)]
        misfit = next(((v, found) for v, found in shapes if list(v.shape) != found), None)
        if misfit is None:
            self._awaited = None
            super().load_own_variables(store)
        elif not self._load_awaited(store):
            variable, found = misfit
            raise errors.InputError(
                f"{variable.name} of the optimizer is {list(variable.shape)}, but {found} in the"
                " file: it belongs to another rule or another model"
            )
        else:
            logging.warning(
                "The file holds the state of %s for other variables than the model now trains; it"
                " starts anew",
                self.name,
            )

    def _load_awaited(self, store) -> bool:
        """Loads the weights alone, which come right after Keras' own variables, if they fit."""
        if self._awaited is None:
            return False
        indices = {id(variable): str(index) for index, variable in enumerate(self.variables)}
        places = {key: indices[id(variable)] for key, variable in self._weights.items()}
        # Not `get`, which means another thing in the files of Keras.
        if not set(places.values()) <= set(store.keys()):
            return False
        found = {key: store[place] for key, place in places.items()}
        if keras_config.digest(found) != self._awaited:
            return False
        for key, variable in self._weights.items():
            variable.assign(found[key])
        self._awaited = None
        return True

    def _check_weights(self):
        if self._awaited is None:
            return
        with tf.init_scope():
            found = keras_config.digest(self.rule_weights())
            if found == keras_config.digest(self.rule.weights()) != self._awaited:
                raise errors.InputError(
                    f"the configuration of this optimizer names the weights of the rule"
                    f" {self._label!r} by a hash only; load the optimizer's variables from the"
                    " file that the configuration is of"
                )
        self._awaited = None

    def _add_constant(self, value: tf.Tensor, name: str, aggregation: str = "none"):
        value = value.numpy()
        return self.add_variable(
            value.shape,
            initializer=lambda shape, dtype: tf.constant(value, dtype, shape),
            dtype=value.dtype.name,
            aggregation=aggregation,
            name=name,
        )

    def _apply_weight_decay(self, variables):
        # Part of the step, because the guard may skip it.
        pass

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # The place of Keras' loop over the variables: clipping is done, and under a distribution
        # strategy this is one replica with gradients of its own.
        given = {}
        for grad, variable in self._all_reduce_sum_gradients(
            zip(grads, map(_raw, trainable_variables))
        ):
            i = self._get_variable_index(variable)  # Twice where models share it.
            given[i] = given[i] + grad if i in given else grad
        variables = self._trainable_variables
        rate = tf.cast(learning_rate, _DTYPE)
        values = [tf.cast(tf.convert_to_tensor(v), _DTYPE) for v in variables]
        decays = {
            i: rate * self.weight_decay * values[i]
            for i in given
            if self.weight_decay and self._use_weight_decay(variables[i])
        }
        params = [value - decays[i] if i in decays else value for i, value in enumerate(values)]
        gradients = [
            tf.cast(given[i], _DTYPE) if i in given else tf.zeros_like(p)
            for i, p in enumerate(params)
        ]
        updates, state, skipped = self._step.step(
            gradients,
            [tf.convert_to_tensor(v) for v in self._state],
            params,
            self.rule_weights(),
            rate,
            given=tuple(i in given for i in range(len(variables))),
        )
        if self.monitor is not None:
            applied = [u if i in given else tf.zeros_like(u) for i, u in enumerate(updates)]
            self.monitor(gradients, applied)
        changed = [i for i in range(len(variables)) if i in given]
        for i, decay in decays.items():
            updates[i] -= tf.where(skipped > 0, tf.zeros_like(decay), decay)
        additions = [tf.cast(updates[i], variables[i].dtype) for i in changed]

        def assign(distribution, additions, state, skipped):
            for i, addition in zip(changed, additions):
                _on_each_device(distribution, self.assign_add, variables[i], addition)
            for variable, value in zip(self._state, state):
                _on_each_device(distribution, self.assign, variable, value)
            if self.guard:
                _on_each_device(distribution, self.assign_add, self._step.num_skipped, skipped)

        # Each replica has computed the same from the sum of all gradients.
        tf.__internal__.distribute.interim.maybe_merge_call(
            assign, self._distribution_strategy, additions, state, skipped
        )


def _describe(rule: UpdateRule) -> str:
    name = rule.registered_name or type(rule).__name__
    if not rule.learned:
        return ", ".join([name, *(f"{key}={value}" for key, value in rule.options().items())])
    return f"{name}, {sum(value.shape.num_elements() for value in rule.weights().values())} weights"


def _cosine(learning_rate, total_steps):
    if not isinstance(learning_rate, float):
        raise errors.InputError(
            "total_steps makes a schedule of a number: give a float as learning_rate, or a"
            " schedule without total_steps"
        )
    if not (_is_positive(total_steps) and isinstance(total_steps, numbers.Integral)):
        raise errors.InputError(f"total_steps={total_steps!r} must be a positive integer")
    return keras.optimizers.schedules.CosineDecay(learning_rate, int(total_steps))


def _is_positive(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and float(value) > 0


def _checked(grads, variables) -> list[tf.Tensor | None]:
    """Gradients as tensors of the variables' static shapes, None where there is none."""
    if len(grads) != len(variables):
        raise errors.InputError(f"{len(grads)} gradients for {len(variables)} variables")
    sparse = [g if isinstance(g, tf.IndexedSlices) else v for g, v in zip(grads, variables)]
    check_gradients(sparse, variables)
    grads = [g if g is None else coordinates.dense(g, v) for g, v in zip(grads, variables)]
    check_gradients([v if g is None else g for g, v in zip(grads, variables)], variables)
    return [g if g is None else tf.ensure_shape(g, v.shape) for g, v in zip(grads, variables)]


def _raw(variable) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable


def _on_each_device(distribution, assign, variable, value) -> None:
    distribution.extended.update(_raw(variable), assign, args=(value,), group=False)
