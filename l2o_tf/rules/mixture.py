"""One of several rules, drawn at random for each trajectory or for each step."""

import copy
import functools
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.rules import base, composite


def draw(seed: seeds.Seed, probabilities: Sequence[float] | tf.Tensor) -> tf.Tensor:
    """Draws an index, an int32 scalar, with probabilities that sum to 1."""
    limits = tf.cumsum(tf.convert_to_tensor(probabilities, tf.float32))
    index = tf.reduce_sum(tf.cast(seeds.uniform(seed, []) >= limits, tf.int32))
    # Rounding can leave the last limit below 1.
    return tf.minimum(index, limits.shape[0] - 1)


class OneOfState(NamedTuple):
    """The index of the drawn rule, an int32 scalar, and the states of all rules."""

    choice: tf.Tensor
    states: tuple[base.State, ...]


class OneOf(composite.Composite):
    """Each trajectory runs one rule: the teachers of Algorithm 2 of the paper."""

    def __init__(
        self,
        rules: Sequence[base.UpdateRule],
        probabilities: Sequence[float] | None = None,
        name: str | None = None,
    ):
        """Takes analytical rules and their probabilities, equal by default."""
        super().__init__(rules, name=name)
        total = sum(probabilities) if probabilities else len(self.parts)
        self.probabilities = [p / total for p in probabilities or [1] * len(self.parts)]

    def init_tensors(self, params, seed, weights):
        seed = seeds.make_seed(0, "one of several rules") if seed is None else seed
        states = tuple(
            rule.init(params, seeds.fold(seed, i + 1)) for i, rule in enumerate(self.parts)
        )
        return OneOfState(draw(seeds.fold(seed, 0), self.probabilities), states)

    def update_tensors(self, grads, state, params, weights):
        def run(index):
            updates, new = self.parts[index].update(grads, state.states[index], params)
            return updates, (*state.states[:index], new, *state.states[index + 1 :])

        updates, states = self._of_the_drawn_rule(state, run)
        return updates, OneOfState(state.choice, states)

    def true_params_of_parts(self, params, state):
        return self._of_the_drawn_rule(
            state, lambda i: self.parts[i].true_params(params, state.states[i])
        )

    def _of_the_drawn_rule(self, state, run):
        branches = [functools.partial(run, i) for i in range(len(self.parts))]
        return tf.switch_case(state.choice, branches)


class PerStepState(NamedTuple):
    """Where a mixture stands.

    Attributes:
        seed: int32 [2], what the choices of the trajectory are drawn from.
        step: int32 scalar, the number of steps taken.
        share: float32 scalar, the probability that a step is a teacher's.
        learned: the state of the learned rule.
        teachers: the states of the teachers.
    """

    seed: seeds.Seed
    step: tf.Tensor
    share: tf.Tensor
    learned: base.State
    teachers: tuple[base.State, ...]


class PerStep(composite.Composite):
    """Each step applies the update of a learned rule or of one of its teachers, drawn at random.

    Every rule is given every gradient, so that its state is up to date when it is drawn. The
    meta-parameters are those of the learned rule. Source: paper section 4.2, self-improving.
    """

    def __init__(
        self,
        learned: base.UpdateRule,
        teachers: Sequence[base.UpdateRule],
        probabilities: Sequence[float] | None = None,
        name: str | None = None,
    ):
        """Combines rules.

        Args:
            learned: the rule to train.
            teachers: the analytical rules that take steps for it.
            probabilities: how likely each of them is when one of them is drawn; equal by default.
            name: the module's name.
        """
        super().__init__([learned, *teachers], name=name)
        self.learned_rule = learned
        self.share: tf.Tensor | None = None
        self._teachers = OneOf(teachers, probabilities)
        self._variables = dict(learned._variables)

    @property
    def equal_share(self) -> float:
        """The share of the teachers when all rules are equally likely."""
        return len(self._teachers.parts) / len(self.parts)

    def with_share(self, share: tf.Tensor) -> "PerStep":
        """The same mixture, whose trajectories have the teachers' `share`, a float32 scalar."""
        mixture = copy.copy(self)
        mixture.share = share
        return mixture

    def init_tensors(self, params, seed, weights):
        """Returns the state of a trajectory on which all rules are equally likely, by default."""
        seed = seeds.make_seed(0, "mixture of rules") if seed is None else seed
        return PerStepState(
            seeds.fold(seed, 0),
            tf.constant(0),
            tf.constant(self.equal_share) if self.share is None else self.share,
            self.learned_rule.init(params, seeds.fold(seed, 1), weights),
            tuple(
                rule.init(params, seeds.fold(seed, i + 2))
                for i, rule in enumerate(self._teachers.parts)
            ),
        )

    def true_params_of_parts(self, params, state):
        return self.learned_rule.true_params(params, state.learned)

    def update_tensors(self, grads, state, params, weights):
        updates, learned = self.learned_rule.update(grads, state.learned, params, weights)
        return self.mix(updates, learned, grads, state, params)

    def mix(
        self,
        updates: base.Params,
        learned: base.State,
        grads: base.Params,
        state: PerStepState,
        params: base.Params,
    ) -> tuple[base.Params, PerStepState]:
        """Chooses between the learned rule's updates and those of its teachers.

        Args:
            updates: what the learned rule returned for the step.
            learned: its state after the step.
            grads: the gradients that it was given.
            state: the mixture's state before the step.
            params: the optimizee's parameters before the step.

        Returns:
            What `update` returns.
        """
        # Constants: the derivative of the root in Adam is infinite where a gradient is 0.
        constants = [tf.stop_gradient(g) for g in grads]
        taught = [
            rule.update(constants, own, params)
            for rule, own in zip(self._teachers.parts, state.teachers)
        ]
        choice = self.choice(state, state.step)
        return self._moved(state, 1, choice, (updates, learned), taught)

    @property
    def differentiator(self):
        inner = self.learned_rule.differentiator
        # A replay of gradients lets nothing depend on where the parameters have come to.
        if inner is None or any(rule.looks_at_params for rule in self._teachers.parts):
            return None
        return _PerStepDifferentiator(self, inner)

    def mix_sequence(
        self,
        updates: base.Params,
        learned: base.State,
        grads: base.Params,
        state: PerStepState,
        params: base.Params,
    ) -> tuple[base.Params, PerStepState]:
        """Like `mix`, for a sequence: updates and gradients are tensors [num_steps, *shape_i]."""
        num_steps = grads[0].shape[0]
        taught = [
            rule.replay(grads, own, params)
            for rule, own in zip(self._teachers.parts, state.teachers)
        ]
        choices = tf.stack([self.choice(state, state.step + t) for t in range(num_steps)])
        return self._moved(state, num_steps, choices, (updates, learned), taught)

    def _moved(self, state, num_steps, choice, learned, taught):
        """The chosen updates of all rules' (updates, next state), and the mixture's next state."""
        after = state._replace(
            step=state.step + num_steps,
            learned=learned[1],
            teachers=tuple(own for _, own in taught),
        )
        return _select(choice, [updates for updates, _ in (learned, *taught)]), after

    def choice(self, state: PerStepState, step: tf.Tensor) -> tf.Tensor:
        """The rule of a step, an int32 scalar: 0 is the learned one, then the teachers."""
        shares = [state.share * p for p in self._teachers.probabilities]
        return draw(seeds.fold(state.seed, step), tf.stack([1 - state.share, *shares]))


class _PerStepDifferentiator(base.Differentiator):
    def __init__(self, rule: PerStep, inner: base.Differentiator):
        self._rule, self._inner = rule, inner

    def replay(self, grads, state, params, weights):
        updates, learned = self._inner.replay(grads, state.learned, params, weights)
        return self._rule.mix_sequence(updates, learned, grads, state, params)

    def recorder(self, params, num_steps, weights):
        inner = self._inner.recorder(params, num_steps, weights)
        return None if inner is None else _PerStepRecorder(self._rule, inner)


class _PerStepRecorder(base.Recorder):
    """Records the learned rule's steps; where it was not drawn, nothing depends on its weights."""

    def __init__(self, rule: PerStep, inner: base.Recorder):
        self._rule, self._inner = rule, inner

    def start(self, state):
        return state._replace(learned=self._inner.start(state.learned))

    def end(self, state):
        return state._replace(learned=self._inner.end(state.learned))

    def kept(self, state):
        return self._inner.kept(state.learned)

    def update(self, grads, state, params):
        updates, learned, record = self._inner.update(grads, state.learned, params)
        chosen, after = self._rule.mix(updates, learned, grads, state, params)
        is_learned = tf.equal(self._rule.choice(state, state.step), 0)
        return chosen, after, (record, tf.cast(is_learned, params[0].dtype))

    def gradient(self, kept, records, cotangents):
        inner_records, is_learned = records
        return self._inner.gradient(kept, inner_records, cotangents * is_learned.stack()[:, None])


def _select(choice: tf.Tensor, candidates: Sequence[base.Params]) -> list[tf.Tensor]:
    """The tensors of one of several candidates, or of one for each entry of their first axis.

    Args:
        choice: int32 scalar or [num_steps].
        candidates: lists of tensors [*choice.shape, *shape_i].
    """

    def pick(*tensors):
        rank = tensors[0].shape.rank - choice.shape.rank
        where = tf.reshape(choice, [*choice.shape, *[1] * rank])
        chosen = [tf.where(tf.equal(where, i), u, tf.zeros_like(u)) for i, u in enumerate(tensors)]
        return tf.add_n(chosen)

    return [pick(*tensors) for tensors in zip(*candidates)]
