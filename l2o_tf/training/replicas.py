"""The trajectories whose meta-gradients are averaged to one, and the replicas that run them.

A replica is a device of `tf.distribute`, of this process or of another one; without a strategy the
process is the only one. What there is one of for each trajectory, its seed or where it stands, is a
tuple with an entry for each trajectory of a replica; with a strategy the tensors in it have a value
on each replica.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from l2o_tf.core import loops, seeds

T = TypeVar("T")
_SUM, _MEAN = tf.distribute.ReduceOp.SUM, tf.distribute.ReduceOp.MEAN


class Replicas:
    """Runs functions once for each trajectory of a meta-step and averages what they return.

    Attributes:
        per_replica: the trajectories of each replica.
        num_replicas: the replicas of all processes.
        num_processes: the processes that train together.
        is_chief: whether this is the process that writes files and says how far it is.
    """

    def __init__(
        self,
        per_replica: int = 1,
        strategy: tf.distribute.Strategy | None = None,
        num_processes: int = 1,
        is_chief: bool = True,
    ):
        self._strategy = strategy
        self.per_replica = per_replica
        self.num_replicas = 1 if strategy is None else strategy.num_replicas_in_sync
        self.num_processes, self.is_chief = num_processes, is_chief
        self._sum_of_first = loops.in_graph(self._from_first)

    @property
    def num_trajectories(self) -> int:
        """The trajectories of a meta-step."""
        return self.per_replica * self.num_replicas

    @property
    def is_single(self) -> bool:
        """Whether there is one trajectory per meta-step, in this process."""
        return self.num_trajectories == 1 and self._strategy is None

    def seeds(self, seed: seeds.Seed) -> tuple[seeds.Seed, ...]:
        """The seed of each trajectory: `seed`, int32 [2], of the first, others fold it."""

        def one(number):
            folded = seeds.fold(seed, seeds.Stream.TRAJECTORY, number)
            return tf.where(tf.equal(number, 0), seed, folded)

        def of_replica():
            first = _replica_number() * self.per_replica
            return tuple(one(first + i) for i in range(self.per_replica))

        return (seed,) if self.is_single else self._run(of_replica)

    def each(self, function: Callable[..., T], own: tuple[Any, ...], *shared: Any) -> tuple[T, ...]:
        """Calls `function(own[i], *shared)` for each trajectory i.

        Args:
            function: returns a nest of tensors.
            own: a nest of tensors for each trajectory.
            *shared: nests of tensors that all trajectories are given.
        """

        def of_replica(own, *shared):
            return tuple(function(one, *shared) for one in own)

        return self._run(of_replica, own, *shared)

    def mean(self, values: tuple[T, ...]) -> T:
        """The mean over all trajectories of nests of tensors of one floating dtype."""
        if self._strategy is None:
            return tf.nest.map_structure(lambda *x: _mean_of(x), *values)
        leaves = [self._strategy.experimental_local_results(x)[0] for x in tf.nest.flatten(values)]
        like = leaves[: len(leaves) // len(values)]

        # One vector, because what is exchanged costs a round trip each time.
        def of_replica(values):
            return _mean_of(
                [tf.concat([tf.reshape(x, [-1]) for x in tf.nest.flatten(v)], 0) for v in values]
            )

        vector = self._strategy.reduce(_MEAN, self._run(of_replica, values), axis=None)
        parts = tf.split(vector, [x.shape.num_elements() for x in like])
        return tf.nest.pack_sequence_as(
            values[0], [tf.reshape(part, x.shape) for part, x in zip(parts, like)]
        )

    def stacked(self, function: Callable[[tf.Tensor], T], first: tf.Tensor) -> T:
        """The floats `function(first + i)` of each replica i, stacked: [num_replicas, ...]."""

        def of_replica(first):
            own = _replica_number()

            def place(x):
                mine = tf.reshape(
                    tf.equal(tf.range(self.num_replicas), own), [-1, *[1] * x.shape.rank]
                )
                return tf.where(mine, x[None], tf.zeros_like(x)[None])

            return tf.nest.map_structure(place, function(first + own))

        return self._sum(self._run(of_replica, first))

    def from_chief(self, data: bytes) -> bytes:
        """What the chief gives here, in every process."""
        if self.num_processes == 1:
            return data
        # Integers, whose sum with zeros has the same bits.
        words = np.frombuffer(data + b"\0" * (-len(data) % 4), np.int32)
        length, size = self._sum_of_first(tf.constant([len(data), len(words)])).numpy()
        if not self.is_chief:
            words = np.zeros([size], np.int32)
        return self._sum_of_first(tf.constant(words)).numpy().tobytes()[:length]

    def any(self, is_so: bool) -> bool:
        """Whether it is so in any process."""
        if self.num_processes == 1:
            return is_so
        flag = tf.constant(int(is_so))
        return bool(self._sum(self._run(lambda flag: flag, flag)) > 0)

    def _from_first(self, vector):
        def of_replica(vector):
            return tf.where(tf.equal(_replica_number(), 0), vector, tf.zeros_like(vector))

        return self._sum(self._run(of_replica, vector))

    def _run(self, function, *args):
        if self._strategy is None:
            return function(*args)
        return self._strategy.run(function, args=args)

    def _sum(self, nest):
        if self._strategy is None:
            return nest
        return tf.nest.map_structure(lambda x: self._strategy.reduce(_SUM, x, axis=None), nest)


def _mean_of(tensors):
    return tensors[0] if len(tensors) == 1 else tf.add_n(tensors) / len(tensors)


def _replica_number():
    context = tf.distribute.get_replica_context()
    return tf.convert_to_tensor(context.replica_id_in_sync_group)
