"""Evolution strategies: meta-gradients from perturbed unrolls, without differentiating a rule.

Both estimators perturb all meta-parameters by plus and minus the same noise eps ~ N(0, stddev^2)
and weigh directions by the difference of the two meta-losses: antithetic sampling, whose variance
does not grow with the loss itself. They see what backpropagation without second derivatives does
not, and stay useful where an unroll is chaotic. Sources: Metz et al. 2019, "Understanding and
correcting pathologies in the training of learned optimizers"; Vicol, Metz, Sohl-Dickstein 2021,
"Unbiased gradient estimation in unrolled computation graphs with persistent evolution strategies".
"""

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.core import loops, seeds
from l2o_tf.rules.base import Weights
from l2o_tf.training import estimators, meta_loss

_FLAGS = {"num_pairs": "evolution_pairs", "stddev": "evolution_stddev"}


@estimators.register("es", flags=_FLAGS)
@dataclasses.dataclass(frozen=True)
class TruncatedES(estimators.Estimator):
    """ES for each unroll by itself: 1 / (2 stddev^2) mean (L(w + eps) - L(w - eps)) eps.

    All perturbed unrolls start where the trajectory of the unperturbed weights stands. The
    expectation is the gradient of the unroll's smoothed meta-loss E[L(w + eps)].

    Attributes:
        num_pairs: antithetic pairs per unroll.
        stddev: the standard deviation of the noise.
    """

    num_pairs: int = 8
    stddev: float = 0.01

    def step(self, segment, carry, weights, seed):
        def run(weights):
            return meta_loss.evaluate(segment, carry, weights)

        def add_pair(total, pair):
            noise = _noise(seeds.fold(seed, pair), weights, self.stddev)
            plus, minus = (run(_moved(weights, noise, sign)).objective for sign in (1, -1))
            return _add(total, noise, plus - minus), ()

        total, _ = loops.scan(add_pair, _zeros(weights), self.num_pairs)
        unroll = run(weights)
        return meta_loss.MetaGradient(gradient=_scaled(total, self), **unroll._asdict())


class Particles(NamedTuple):
    """Pairs of perturbed trajectories.

    Attributes:
        trajectories: two nests, for plus and minus, of tensors [num_pairs, ...].
        noise: the sum of a pair's perturbations so far, by name: [num_pairs, *shape].
    """

    trajectories: tuple[Any, Any]
    noise: Weights


@estimators.register("pes", flags=_FLAGS)
@dataclasses.dataclass(frozen=True)
class PersistentES(estimators.Estimator):
    """PES: perturbed trajectories go on over all unrolls of an epoch.

    In unroll k each pair draws new noise and goes on from its own states; its estimate is
    1 / (2 stddev^2) mean (L_k(plus) - L_k(minus)) (eps_1 + ... + eps_k). The sum over the unrolls
    has the gradient of the whole trajectory's smoothed loss as its expectation: no truncation
    bias.

    Attributes:
        num_pairs: antithetic pairs, each with two trajectories.
        stddev: the standard deviation of the noise.
    """

    num_pairs: int = 8
    stddev: float = 0.01

    def start(self, trajectory, weights):
        def repeated(x):
            return tf.repeat(x[None], self.num_pairs, axis=0)

        particles = tf.nest.map_structure(repeated, trajectory)
        return Particles((particles, particles), tf.nest.map_structure(repeated, _zeros(weights)))

    def step(self, segment, carry, weights, seed):
        def add_pair(total, pair):
            fresh = _noise(seeds.fold(seed, pair), weights, self.stddev)
            noise = {name: carry.noise[name][pair] + fresh[name] for name in fresh}
            plus, minus = (
                meta_loss.evaluate(
                    segment,
                    tf.nest.map_structure(lambda x: x[pair], particles),
                    _moved(weights, fresh, sign),
                )
                for particles, sign in zip(carry.trajectories, (1, -1))
            )
            total = _add(total, noise, plus.objective - minus.objective)
            means = [(a + b) / 2 for a, b in zip((plus.losses, plus.objective),
                                                 (minus.losses, minus.objective))]  # fmt: skip
            return total, (*means, Particles((plus.end, minus.end), noise))

        one = tf.nest.map_structure(lambda x: x[0], carry)
        scalar = tf.TensorSpec([], _dtype(carry))
        like = (tf.TensorSpec([segment.max_steps + 1], _dtype(carry)), scalar, one)
        total, (*means, carry) = loops.scan(add_pair, _zeros(weights), self.num_pairs, like)
        losses, objective = (tf.reduce_mean(x, axis=0) for x in means)
        return meta_loss.MetaGradient(
            losses, _scaled(total, self), carry, objective, segment.planned_steps
        )


def _noise(seed: seeds.Seed, weights: Weights, stddev: float) -> Weights:
    return {
        name: seeds.normal(seeds.fold(seed, i), value.shape, stddev, value.dtype)
        for i, (name, value) in enumerate(weights.items())
    }


def _moved(weights: Weights, noise: Weights, sign: int) -> Weights:
    return {name: value + sign * noise[name] for name, value in weights.items()}


def _zeros(weights: Weights) -> Weights:
    return {name: tf.zeros_like(value) for name, value in weights.items()}


def _add(total: Weights, noise: Weights, difference: tf.Tensor) -> Weights:
    return {
        name: total[name] + tf.cast(difference, noise[name].dtype) * noise[name] for name in total
    }


def _scaled(total: Weights, estimator: TruncatedES | PersistentES) -> Weights:
    factor = 1 / (2 * estimator.stddev**2 * estimator.num_pairs)
    return {name: factor * value for name, value in total.items()}


def _dtype(carry: Particles) -> tf.DType:
    return carry.trajectories[0].params[0].dtype
