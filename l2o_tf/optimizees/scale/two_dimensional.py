"""Test functions of two variables: one parameter tensor [2], started in the usual box.

Formulas and minima: https://www.sfu.ca/~ssurjano/optimization.html; legacy
`problems/problem_generator.py`.
"""

import math

import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.optimizees.scale import problem


class TwoDimensional(problem.Problem):
    """f(x, y) of the coordinates of one tensor [2].

    Attributes:
        low: the lower corner of the box of starts, a number or (x, y); None starts at N(0, 1).
        high: the upper corner.
    """

    low: float | tuple[float, float] | None = None
    high: float | tuple[float, float] | None = None

    def __init__(self):
        super().__init__([(2,)])

    def initial(self, seed, shape):
        if self.low is None:
            return super().initial(seed, shape)
        low, high = tf.constant(self.low), tf.constant(self.high)
        return low + (high - low) * seeds.uniform(seed, shape)

    def loss(self, params, batch):
        return self.value(*tf.unstack(params[0]))

    def value(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The value of the function, a scalar."""
        raise NotImplementedError


class Rosenbrock(TwoDimensional):
    """A bent valley; minimum 0 at (1, 1)."""

    low, high = -5.0, 10.0

    def value(self, x, y):
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2


class Saddle(TwoDimensional):
    """x^2 - y^2, unbounded below."""

    def value(self, x, y):
        return x**2 - y**2


class LogSumExp(TwoDimensional):
    """The log of a sum of four exponentials, convex."""

    def value(self, x, y):
        return tf.reduce_logsumexp(
            tf.stack([x + 3 * y - 0.1, x - 3 * y - 0.1, -x - 0.1, tf.zeros_like(x)])
        )


class Ackley(TwoDimensional):
    """Many local minima; minimum 0 at (0, 0), where it has a kink."""

    low, high = -32.768, 32.768

    def value(self, x, y):
        cone = -20 * tf.exp(-0.2 * tf.sqrt(0.5 * (x**2 + y**2)))
        waves = tf.exp(0.5 * (tf.cos(2 * math.pi * x) + tf.cos(2 * math.pi * y)))
        return cone - waves + math.e + 20


class Beale(TwoDimensional):
    """Sharp peaks at the corners; minimum 0 at (3, 0.5)."""

    low, high = -4.5, 4.5

    def value(self, x, y):
        return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


class Booth(TwoDimensional):
    """A long valley; minimum 0 at (1, 3)."""

    low, high = -10.0, 10.0

    def value(self, x, y):
        return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2


class StyblinskiTang(TwoDimensional):
    """Four wells, raised by 80; minimum 1.66767 at (-2.903534, -2.903534)."""

    low, high = -5.0, 5.0

    def value(self, x, y):
        return 0.5 * sum(v**4 - 16 * v**2 + 5 * v for v in (x, y)) + 80


class Matyas(TwoDimensional):
    """A flat valley; minimum 0 at (0, 0)."""

    low, high = -10.0, 10.0

    def value(self, x, y):
        return 0.26 * (x**2 + y**2) - 0.48 * x * y


class Branin(TwoDimensional):
    """Minimum 0.397887 at (-pi, 12.275), (pi, 2.275) and (9.42478, 2.475)."""

    low, high = (-5.0, 0.0), (10.0, 15.0)

    def value(self, x, y):
        valley = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
        return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * tf.cos(x) + 10


class Michalewicz(TwoDimensional):
    """Ridges of steepness 5, raised by 2; minimum 0.193377 at (2.185312, pi / 2)."""

    low, high = 0.0, math.pi

    def value(self, x, y):
        ridge_x = tf.sin(x) * tf.sin(x**2 / math.pi) ** 10
        ridge_y = tf.sin(y) * tf.sin(2 * y**2 / math.pi) ** 10
        return 2 - (ridge_x + ridge_y)
