"""What every update rule is: analytical, learned, or a mixture of both."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import sonnet as snt
import tensorflow as tf

from l2o_tf.core import coordinates, errors, loops, registry, seeds

Params = coordinates.Params
State = Any  # A nest of tensors whose structure never changes.
Weights = dict[str, tf.Tensor]

# What is trained without a curriculum: epochs in all, and those between validations.
RULES: registry.Registry["UpdateRule"] = registry.Registry(
    "update rule", num_epochs=10000, period_epochs=100
)


def register(name: str, **facts: int):
    """Files a rule class in the registry under `name`, which becomes its `registered_name`.

    Args:
        name: the name.
        **facts: `num_epochs` and `period_epochs`, the recipe of the rule's training without a
            curriculum, where it is not 10,000 epochs with a validation after each 100.
    """

    def add(rule_class: type["UpdateRule"]) -> type["UpdateRule"]:
        rule_class.registered_name = name
        return RULES.register(name, **facts)(rule_class)

    return add


class UpdateRule(snt.Module):
    """Turns gradients into parameter updates; `params + updates` are the next parameters.

    `init` and `update` are pure functions of their arguments: they create and assign no
    variables, so that a rule can run inside a compiled loop and be differentiated through.
    """

    registered_name: str | None = None
    learned = False  # Whether there are weights to train; then `seed` is a constructor argument.
    # Whether `init` depends on the weights; a meta-gradient then has to pass through it.
    learned_start = False
    # Whether `true_params` are others than those at which gradients are taken.
    scores_elsewhere = False
    # Whether updates depend on parameters themselves, as a weight decay does; a meta-gradient then
    # has to pass through these.
    looks_at_params = True

    def __init__(self, initial_weights: Weights | None = None, name: str | None = None):
        """Creates the meta-parameters.

        Args:
            initial_weights: their initial values by name.
            name: the module's name.
        """
        super().__init__(name=name)
        self._variables = {
            key: tf.Variable(value, name=key) for key, value in (initial_weights or {}).items()
        }

    def weights(self) -> Weights:
        """The current values of the meta-parameters by name."""
        return {key: tf.convert_to_tensor(variable) for key, variable in self._variables.items()}

    def assign(self, weights: Weights) -> None:
        """Sets the meta-parameters to values as returned by `weights`.

        Raises:
            ValueError: if the names or the shapes are not those of this rule.
        """
        check_weights(self.name, weights, self._variables)
        for key, variable in self._variables.items():
            variable.assign(weights[key])

    def options(self) -> dict[str, Any]:
        """The arguments, JSON values, with which the registry creates this rule again."""
        return {}

    @classmethod
    def option_parameters(cls) -> dict[str, inspect.Parameter]:
        """The constructor's arguments, which `options()` may leave out at their defaults."""
        arguments = inspect.signature(cls.__init__).parameters
        return {key: a for key, a in arguments.items() if key not in ("self", "seed", "name")}

    def keras_route(self) -> dict[str, list[str]]:
        """Which variables of a Keras model it leaves to formulas: the default of `route` there."""
        return {}

    def init(
        self, params: Params, seed: seeds.Seed | None = None, weights: Weights | None = None
    ) -> State:
        """Returns the state before the first step of a trajectory.

        Args:
            params: the optimizee's parameters, a list of tensors of static shape; only their
                shapes and dtypes matter, for in Keras they may have no values yet.
            seed: int32 [2], for rules with a random initial state or random steps.
            weights: values for the meta-parameters, the rule's own by default; they matter where
                `learned_start` is true.
        """
        return self.init_tensors(params, seed, self._given_or_own(weights))

    def update(
        self, grads: Params, state: State, params: Params, weights: Weights | None = None
    ) -> tuple[Params, State]:
        """Computes one step.

        Args:
            grads: the gradients of the loss at `params`, shaped like `params`; sparse ones of
                embeddings, too.
            state: the state before the step.
            params: the optimizee's parameters before the step.
            weights: values for the meta-parameters, to differentiate or to perturb; the rule's
                own by default.

        Returns:
            The updates, shaped like `params`, and the state after the step.

        Raises:
            InputError: if the gradients are not shaped like `params`.
        """
        check_gradients(grads, params)
        grads = [coordinates.dense(g, p) for g, p in zip(grads, params)]
        return self.update_tensors(grads, state, params, self._given_or_own(weights))

    def replay(
        self,
        grads: Params,
        state: State,
        params: Params,
        weights: Weights | None = None,
        points: Params | None = None,
    ) -> tuple[Params, State]:
        """Computes the updates for a recorded sequence of gradients.

        Equal to calling `update` step by step, but a rule's `differentiator` may have a faster
        way because the gradients are known in advance. Imitation differentiates a rule here, and
        so does meta-training where a differentiator has no recorder for the unroll.

        Args:
            grads: gradients, tensors [num_steps, *shape_i].
            state: the state before the first of them.
            params: tensors [*shape_i]; only their shapes and dtypes matter.
            weights: as in `update`.
            points: tensors [num_steps, *shape_i], the parameters at each of the gradients, for
                rules that look at them; `params` throughout by default.

        Returns:
            The updates, tensors [num_steps, *shape_i], and the state after the last step.
        """
        weights = self._given_or_own(weights)
        if self.differentiator is not None:
            return self.differentiator.replay(grads, state, params, weights)
        return step_by_step(self, grads, state, params, weights, points)

    def init_tensors(self, params: Params, seed: seeds.Seed | None, weights: Weights) -> State:
        """What `init` returns, which every rule defines; the weights are always given."""
        raise NotImplementedError

    def update_tensors(
        self, grads: Params, state: State, params: Params, weights: Weights
    ) -> tuple[Params, State]:
        """What `update` returns, which every rule defines; the weights are always given."""
        raise NotImplementedError

    def hold(self, before: State, after: State, params: Params, given: Sequence[bool]) -> State:
        """The state after a step in which some parameters have no gradient.

        By default, the last axis of whatever there is of each coordinate are all coordinates.

        Args:
            before: the state before the step.
            after: what `update` made of it, with zeros for the gradients that are missing.
            params: the parameters.
            given: for each of them, whether it has a gradient.

        Returns:
            `after`, but `before` where it belongs to parameters without a gradient.
        """
        moves = coordinates.flatten([tf.fill(p.shape, has) for p, has in zip(params, given)])
        return tf.nest.map_structure(
            lambda new, old: tf.where(moves, new, old) if new.shape[-1:] == moves.shape else new,
            after,
            before,
        )

    def true_params(self, params: Params, state: State) -> Params:
        """The parameters that are to be scored where a trajectory stands at `params`."""
        return list(params)

    @property
    def differentiator(self) -> "Differentiator | None":
        """The rule's own way to differentiate its updates; None if that is TensorFlow's."""
        return None

    def _given_or_own(self, weights: Weights | None) -> Weights:
        return self.weights() if weights is None else weights


def step_by_step(
    rule: UpdateRule,
    grads: Params,
    state: State,
    params: Params,
    weights: Weights,
    points: Params | None = None,
) -> tuple[Params, State]:
    """`UpdateRule.replay` by calls of `update`, for any rule."""

    def step(state, t):
        at = params if points is None else [p[t] for p in points]
        updates, state = rule.update([g[t] for g in grads], state, at, weights)
        return state, updates

    state, updates = loops.scan(step, state, grads[0].shape[0], like=list(params))
    return updates, state


class Differentiator:
    """A rule's own way to differentiate its updates with respect to its weights.

    It is fastest outside of XLA, in which it compiles its parts.
    """

    def replay(
        self, grads: Params, state: State, params: Params, weights: Weights
    ) -> tuple[Params, State]:
        """What `UpdateRule.replay` returns, to be differentiated by a tape."""
        raise NotImplementedError

    def recorder(self, params: Params, num_steps: int, weights: Weights) -> "Recorder | None":
        """A way to differentiate an unroll without computing the updates a second time.

        Args:
            params: the optimizee's parameters; only their shapes matter.
            num_steps: the number of steps of the unroll.
            weights: the meta-parameters of all steps.

        Returns:
            None where there is none, or where the records of that many steps take much memory.
        """
        return None


def check_weights(name: str, weights: Weights, expected: Mapping[str, Any]) -> None:
    """Compares names and shapes with those of the variables, or the tensors, of the rule `name`.

    Raises:
        ValueError: if they differ.
    """
    found, wanted = ({k: tuple(v.shape) for k, v in w.items()} for w in (weights, expected))
    if found != wanted:
        raise ValueError(f"weights of {name} have shapes {wanted}, got {found}")


def check_gradients(grads: Params, params: Params) -> None:
    """Compares static shapes, as a transposed gradient has as many coordinates as the right one.

    Raises:
        InputError: if the gradients are not shaped like `params`.
    """
    shapes = [None if g is None else tf.TensorShape(g.shape) for g in grads]
    expected = [tf.TensorShape(p.shape) for p in params]
    if len(shapes) != len(expected):
        raise errors.InputError(
            f"{len(shapes)} gradients for {len(expected)} parameters; give one for each"
        )
    for index, (shape, wanted) in enumerate(zip(shapes, expected)):
        if shape is None or not shape.is_compatible_with(wanted):
            raise errors.InputError(
                f"gradient {index} is {shape}, but its parameter is {wanted}: gradients must have"
                " the order and the shapes of the parameters"
            )


class Recorder:
    """Computes updates and keeps what their derivatives need."""

    def start(self, state: State) -> State:
        """Turns a state of the rule into the form that `update` takes and returns."""
        raise NotImplementedError

    def end(self, state: State) -> State:
        """Undoes `start`."""
        raise NotImplementedError

    def kept(self, state: State) -> Any:
        """The part of the state before a step that belongs to the record of the step."""
        raise NotImplementedError

    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State, Any]:
        """Like `UpdateRule.update`, but returns the rest of the record of the step as well."""
        raise NotImplementedError

    def gradient(self, kept: Any, records: Any, cotangents: tf.Tensor) -> Weights:
        """Differentiates a sequence of recorded steps.

        Args:
            kept: what `kept` returned for each step, with tensor arrays in place of tensors.
            records: what `update` returned for each step, likewise.
            cotangents: [num_steps, num_coordinates], the gradient with respect to the updates.

        Returns:
            The gradient with respect to the weights, by name.
        """
        raise NotImplementedError


class CoordinatewiseRule(UpdateRule):
    """A rule that treats every coordinate alike: all of them are one batch of one call."""

    looks_at_params = False

    def init_tensors(self, params, seed, weights):
        return self.init_coordinates(coordinates.count(params), params[0].dtype)

    def update_tensors(self, grads, state, params, weights):
        flat, state = self.update_coordinates(coordinates.flatten(grads), state, weights)
        return coordinates.unflatten(flat, params), state

    def init_coordinates(self, num_coordinates: int, dtype: tf.DType) -> State:
        """Returns the initial state of `num_coordinates` coordinates."""
        raise NotImplementedError

    def update_coordinates(
        self, grads: tf.Tensor, state: State, weights: Weights
    ) -> tuple[tf.Tensor, State]:
        """Maps gradients [num_coordinates] to updates [num_coordinates] and the next state."""
        raise NotImplementedError
