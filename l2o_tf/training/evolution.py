"""Evolution strategies: meta-gradients from perturbed unrolls, without differentiating a rule.

Both estimators perturb all meta-parameters by plus and minus the same noise eps ~ N(0, stddev^2)
and weigh directions by the difference of the two meta-losses: antithetic sampling, whose variance
does not grow with the loss itself. They see what backpropagation without second derivatives does
not, and stay useful where an unroll is chaotic. Sources: Metz et al. 2019, "Understanding and
correcting pathologies in the training of learned optimizers"; Vicol, Metz, Sohl-Dickstein 2021,
"Unbiased gradient estimation in unrolled computation graphs with persistent evolution strategies".
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.core import loops, seeds
from l2o_tf.rules.base import Weights
from l2o_tf.training import estimators, meta_loss

_FLAGS = {
    "num_pairs": "evolution_pairs",
    "stddev": "evolution_stddev",
    "together": "evolution_together",
}


class Particles(NamedTuple):
    """Pairs of perturbed trajectories.

    Attributes:
        trajectories: a nest of tensors [2 num_pairs, ...]: those for plus, then those for minus.
        noise: the sum of a pair's perturbations so far, by name: [num_pairs, *shape].
    """

    trajectories: Any
    noise: Weights


@dataclasses.dataclass(frozen=True)
class _Evolution(estimators.Estimator):
    """What the strategies share.

    Attributes:
        num_pairs: antithetic pairs per unroll.
        stddev: the standard deviation of the noise.
        together: whether all perturbed unrolls run as one batch, not one after the other: the
            same numbers up to rounding, faster where the steps are many small operations.
    """

    num_pairs: int = 8
    stddev: float = 0.01
    together: bool = False

    def _draw(self, weights: Weights, seed: seeds.Seed) -> Weights:
        """New noise, [num_pairs, *shape] by name."""

        def one(nothing, pair):
            pair_seed = seeds.fold(seed, pair)
            noise = {
                name: seeds.normal(seeds.fold(pair_seed, i), value.shape, self.stddev, value.dtype)
                for i, (name, value) in enumerate(weights.items())
            }
            return nothing, noise

        return loops.scan(one, (), self.num_pairs, weights)[1]

    def _for_each(self, unroll: Callable[[Any], Any], inputs: Any, like: Any) -> Any:
        """What `unroll` makes of each of the inputs, stacked.

        Args:
            unroll: a function of nests of tensors.
            inputs: its arguments, a nest of tensors [2 num_pairs, ...].
            like: as in `loops.scan`.
        """
        if self.together:
            return tf.vectorized_map(unroll, inputs)

        def step(nothing, i):
            return nothing, unroll(tf.nest.map_structure(lambda x: x[i], inputs))

        return loops.scan(step, (), 2 * self.num_pairs, like)[1]

    def _perturbed(self, weights: Weights, noise: Weights) -> Weights:
        """Weights [2 num_pairs, *shape]: those for plus, then those for minus."""
        return {
            name: tf.concat([value + noise[name], value - noise[name]], axis=0)
            for name, value in weights.items()
        }

    def _estimate(self, noise: Weights, objectives: tf.Tensor) -> Weights:
        """1 / (2 stddev^2) mean (plus - minus) noise."""
        plus, minus = tf.split(objectives, 2)
        factors = (plus - minus) / (2 * self.stddev**2 * self.num_pairs)
        return {
            name: tf.tensordot(tf.cast(factors, value.dtype), value, axes=1)
            for name, value in noise.items()
        }


@estimators.register("es", flags=_FLAGS)
@dataclasses.dataclass(frozen=True)
class TruncatedES(_Evolution):
    """ES for each unroll by itself: 1 / (2 stddev^2) mean (L(w + eps) - L(w - eps)) eps.

    All perturbed unrolls start where the trajectory of the unperturbed weights stands. The
    expectation is the gradient of the unroll's smoothed meta-loss E[L(w + eps)].
    """

    def step(self, segment, carry, weights, seed):
        noise = self._draw(weights, seed)

        def objective(perturbed):
            ran = meta_loss.evaluate(segment, carry, perturbed, vectorizable=self.together)
            return ran.objective

        like = tf.TensorSpec([], carry.params[0].dtype)
        objectives = self._for_each(objective, self._perturbed(weights, noise), like)
        unroll = meta_loss.evaluate(segment, carry, weights)
        gradient = self._estimate(noise, objectives)
        return meta_loss.MetaGradient(gradient=gradient, **unroll._asdict())


@estimators.register("pes", flags=_FLAGS)
@dataclasses.dataclass(frozen=True)
class PersistentES(_Evolution):
    """PES: perturbed trajectories go on over all unrolls of an epoch.

    In unroll k each pair draws new noise and goes on from its own states; its estimate is
    1 / (2 stddev^2) mean (L_k(plus) - L_k(minus)) (eps_1 + ... + eps_k). The sum over the unrolls
    has the gradient of the whole trajectory's smoothed loss as its expectation: no truncation
    bias.
    """

    def start(self, trajectory, weights):
        def repeated(number):
            return lambda x: tf.repeat(x[None], number, axis=0)

        zeros = tf.nest.map_structure(tf.zeros_like, weights)
        return Particles(
            tf.nest.map_structure(repeated(2 * self.num_pairs), trajectory),
            tf.nest.map_structure(repeated(self.num_pairs), zeros),
        )

    def step(self, segment, carry, weights, seed):
        fresh = self._draw(weights, seed)
        noise = {name: carry.noise[name] + fresh[name] for name in fresh}

        def unroll(own):
            ran = meta_loss.evaluate(segment, *own, vectorizable=self.together)
            return ran.losses, ran.objective, ran.end

        first = tf.nest.map_structure(lambda x: x[0], carry.trajectories)
        scalar = tf.TensorSpec([], first.params[0].dtype)
        losses, objectives, ends = self._for_each(
            unroll,
            (carry.trajectories, self._perturbed(weights, fresh)),
            (tf.TensorSpec([segment.max_steps + 1], scalar.dtype), scalar, first),
        )
        return meta_loss.MetaGradient(
            tf.reduce_mean(losses, axis=0),
            self._estimate(noise, objectives),
            Particles(ends, noise),
            tf.reduce_mean(objectives),
            segment.planned_steps,
        )
