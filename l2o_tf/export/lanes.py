"""Meta-training of K seeds at once: one unroll and one meta-step of every lane.

What one lane does is written once, for one lane, in the rest of the package and mapped over the
lanes here; loops and random draws, which do not map, have the lanes as an axis. The coordinates
of a lane are cut into C blocks, which are lanes to the recurrent network: that gives a GPU
products enough to compute at once. K*C is the leading axis of all that is per block.
"""

from collections.abc import Callable

import tensorflow as tf

from l2o_tf.core import coordinates, errors, loops
from l2o_tf.core.seeds import Stream
from l2o_tf.export import axes, classifiers, draws, minibatches
from l2o_tf.export.carried import Control, Images, Lanes, Slots
from l2o_tf.optimizees import base as base_optimizee
from l2o_tf.rules import base, lstm_sequence, mixture, recurrent_rule
from l2o_tf.training import epochs, unrolls

_ALIGNMENT = 32  # Coordinates of a block are a multiple of it: rows start on a cache line.
_LOG_ROWS = 256


class Programs:
    """The programs of a rule on an optimizee, for a fixed number of lanes."""

    def __init__(
        self,
        rule: recurrent_rule.RecurrentRule,
        optimizee: base_optimizee.Optimizee,
        meta_optimizer: base.UpdateRule,
        teachers: mixture.OneOf,
        num_lanes: int,
        unroll_length: int = 20,
        num_blocks: int = 1,
        shared_meta_optimizer: bool = False,
        scaling_bound: float = 0.0,
    ):
        """Prepares the programs.

        Args:
            rule: the learned rule.
            optimizee: what it is trained on.
            meta_optimizer: what changes the weights.
            teachers: the rules to imitate.
            num_lanes: K.
            unroll_length: optimizee steps per meta-step, T.
            num_blocks: C.
            shared_meta_optimizer: see `epochs.Epochs`.
            scaling_bound: that of `scaling.RandomScaling` in training; 0 for no scaling.

        Raises:
            InputError: for a rule or an optimizee that cannot run in lanes.
        """
        if not isinstance(rule, recurrent_rule.RecurrentRule):
            raise errors.InputError("lanes need the rule dm or rnnprop")
        optimizee = classifiers.vectorizable(optimizee)
        self.rule, self.optimizee, self.teachers = rule, optimizee, teachers
        self.num_lanes, self.unroll_length = num_lanes, unroll_length
        self.num_blocks = num_blocks
        self._shared, self._bound = shared_meta_optimizer, scaling_bound
        self._epochs = epochs.Epochs(rule, optimizee, meta_optimizer)
        self._like = [tf.zeros(start.shape) for start in optimizee.starts]
        self._num_coordinates = coordinates.count(self._like)
        # What the network sees of a block, the coordinate of a centered rule included.
        width = rule.width(-(-self._num_coordinates // num_blocks))
        self._block_size = -(-width // _ALIGNMENT) * _ALIGNMENT - rule.width(0)

    # What lanes start from.

    def initial_lanes(self, weights: base.Weights) -> Lanes:
        """The lanes before the first call, from weights [K, ...] by name."""
        one = {name: value[0] for name, value in weights.items()}
        state = self._epochs.initial_state(one)
        meta = axes.repeat(state, self.num_lanes)._replace(weights=weights)
        params = axes.repeat(self._like, self.num_lanes)
        return Lanes(
            meta,
            weights,
            (meta, weights),
            params,
            self._first_rule_state(self.num_lanes),
            self._first_teacher_states(),
            tf.zeros([_LOG_ROWS, 3, self.num_lanes]),
        )

    def initial_slots(self) -> Slots:
        """Trajectories before the first call."""
        params = axes.repeat(self._like, self.num_lanes)
        return Slots(params, self._first_rule_state(self.num_lanes))

    def _first_rule_state(self, num_lanes: int):
        state = self.rule.init_coordinates(self._block_size, tf.float32)
        return axes.repeat(state, num_lanes * self.num_blocks)

    def _first_teacher_states(self):
        states = tuple(rule.init(self._like) for rule in self.teachers.parts)
        return axes.repeat(states, self.num_lanes)

    def _first_params(self, seed: tf.Tensor):
        """What trajectories of seeds [K, 2] start from."""
        return classifiers.init(self.optimizee, draws.fold(seed, Stream.OPTIMIZEE))

    def _scales(self, seed: tf.Tensor) -> list[tf.Tensor]:
        """What `RandomScaling` multiplies parameters with, [K, *shape_i], for seeds [K, 2]."""
        if not self._bound:
            return [tf.ones([self.num_lanes, *p.shape]) for p in self._like]
        seed = draws.fold(draws.fold(seed, Stream.OPTIMIZEE), Stream.SCALES)
        return [
            tf.exp(draws.uniform(draws.fold(seed, i), list(p.shape), -self._bound, self._bound))
            for i, p in enumerate(self._like)
        ]

    def _teacher(self, seed: tf.Tensor) -> tf.Tensor:
        """What `OneOf.init` draws for the epochs of seeds [K, 2]: int32 [K]."""
        seed = draws.fold(draws.fold(seed, Stream.RULE), 0)
        return draws.choice(seed, self.teachers.probabilities)

    # The programs.

    def train(self, lanes: Lanes, control: Control, data: Images, scale: tf.Tensor) -> Lanes:
        """One unroll and one meta-step of every active lane, as `Epochs` has them.

        Args:
            lanes: where the lanes stand.
            control: what they do.
            data: the images.
            scale: float32 scalar, what pixels are multiplied with.
        """
        before, first, scales = lanes, control.unroll == 0, self._scales(control.seed)
        here = (lanes.meta, lanes.average)
        lanes = lanes._replace(
            boundary=axes.where(first, here, lanes.boundary),
            params=axes.where(
                first,
                [p / s for p, s in zip(self._first_params(control.seed), scales)],
                lanes.params,
            ),
            rule_state=self._where_blocks(
                first, self._first_rule_state(self.num_lanes), lanes.rule_state
            ),
            teacher_states=axes.where(first, self._first_teacher_states(), lanes.teacher_states),
        )
        lanes, gradient, loss = self._unroll(lanes, control, scales, data, scale)
        meta = self._meta_step(lanes.meta, gradient, control.imitates)
        averaged = {
            name: axes.along(control.average[:, 0], old) * old
            + axes.along(control.average[:, 1], old) * meta.weights[name]
            for name, old in lanes.average.items()
        }
        averages = control.average[:, 0] > 0
        average = axes.where(averages, averaged, meta.weights)
        average = axes.where(control.ends, average, lanes.average)
        after = lanes._replace(meta=meta, average=average)
        log = tf.stack([loss, axes.norms(gradient), tf.cast(meta.skipped, tf.float32)])
        active = control.active
        return Lanes(
            axes.where(active, after.meta, before.meta),
            axes.where(active, after.average, before.average),
            axes.where(active, after.boundary, before.boundary),
            axes.where(active, after.params, before.params),
            self._where_blocks(active, after.rule_state, before.rule_state),
            axes.where(active, after.teacher_states, before.teacher_states),
            tf.tensor_scatter_nd_update(before.log, control.row[None, None], log[None]),
        )

    def validate(
        self,
        slots: Slots,
        weights: base.Weights,
        seed: tf.Tensor,
        unroll: tf.Tensor,
        data: Images,
        scale: tf.Tensor,
    ) -> tuple[Slots, tf.Tensor]:
        """One unroll of every slot without a meta-step.

        Args:
            slots: where the trajectories stand.
            weights: [K, ...] by name.
            seed: int32 [K, 2], the seeds of the trajectories.
            unroll: int32 scalar, the number of the unroll; 0 starts the trajectories.
            data: the images.
            scale: what pixels are multiplied with.

        Returns:
            The slots afterwards and the mean losses [K].
        """
        first = tf.fill([self.num_lanes], unroll == 0)
        params = axes.where(first, self._first_params(seed), slots.params)
        state = self._where_blocks(first, self._first_rule_state(self.num_lanes), slots.rule_state)
        start = tf.fill([self.num_lanes], unroll * self.unroll_length)
        batches = self._batches(seed, start, self.unroll_length, data, scale)
        kernels = self._kernels(weights)

        def step(carry, t):
            params, state = carry
            loss, grads = self._loss_and_gradients(params, batches(t))
            blocks = self._to_blocks(grads)
            outputs, state, _ = self._rule_step(kernels, blocks, state)
            updates = self._from_blocks(self._updates(outputs, grads))
            return ([p + u for p, u in zip(params, updates)], state), loss

        like = tf.TensorSpec([self.num_lanes], tf.float32)
        (params, state), losses = loops.scan(step, (params, state), self.unroll_length, like)
        return Slots(params, state), tf.reduce_mean(losses, axis=0)

    # An unroll.

    def _unroll(self, lanes: Lanes, control: Control, scales, data: Images, scale: tf.Tensor):
        """Runs T steps and differentiates: the lanes, the gradient by name, the losses [K]."""
        imitates = control.imitates
        # A lane of imitation draws no batch that only scores the end.
        length = self.unroll_length + tf.cast(~imitates, tf.int32)
        batches = self._batches(
            control.seed, control.unroll * length, self.unroll_length + 1, data, scale
        )
        kernels, choice = self._kernels(lanes.meta.weights), self._teacher(control.seed)
        taught = self._repeat_blocks(imitates)
        # A rule moves a coordinate of zero gradients too, such as those that fill up a block. Not
        # a bool: versions of StableHLO do not agree on how to write constants of these.
        real = self._to_blocks([tf.ones_like(p) for p in lanes.params])

        def step(carry, t):
            params, state, teacher_states = carry
            loss, grads = self._scaled_loss_and_gradients(params, scales, batches(t))
            labels, teacher_states = self._teach(choice, grads, teacher_states, params)
            blocks, labels = self._to_blocks(grads), self._to_blocks(labels)
            kept = lstm_sequence.kept(self.rule.split(state)[1])
            outputs, state, record = self._rule_step(kernels, blocks, state)
            updates = self._updates(outputs, grads)
            differences = (updates - labels) * real
            squares = tf.reshape(tf.square(differences), [self.num_lanes, -1])
            missed = tf.reduce_sum(squares, axis=1) / (2 * self._num_coordinates)
            moves = self._from_blocks(axes.where(taught, labels, updates))
            moved = [p + u for p, u in zip(params, moves)]
            slope = axes.where(taught, differences / self._num_coordinates, blocks)
            loss = tf.where(imitates, missed, loss)
            return (moved, state, teacher_states), (loss, slope, outputs, kept, record)

        start = (lanes.params, lanes.rule_state, lanes.teacher_states)
        like = axes.specs(step, start, tf.constant(0))[1]
        (params, state, teacher_states), records = loops.record(
            step, start, self.unroll_length, like
        )
        losses, *records = records
        end_loss, end_grads = self._scaled_loss_and_gradients(
            params, scales, batches(tf.constant(self.unroll_length))
        )
        gradient = self._backward(kernels, records, self._to_blocks(end_grads), taught)
        losses = tf.reduce_sum(losses.stack(), axis=0)
        loss = tf.where(
            imitates,
            losses / self.unroll_length,
            (losses + end_loss) / (self.unroll_length + 1),
        )
        lanes = lanes._replace(params=params, rule_state=state, teacher_states=teacher_states)
        return lanes, gradient, loss

    def _backward(self, kernels, records, end_slope, taught):
        """The gradient with respect to the weights, [K, ...] by name."""

        def transposed(gates):
            return [tf.transpose(kernel[:, :-1]) for kernel in gates]

        gates = axes.mapped(transposed, kernels.gates)

        def step_back(carry, recorded):
            later, sums, states = carry
            slope, outputs, kept, record = recorded
            cotangent = self._through_updates(outputs, tf.where(taught[:, None], slope, later))
            arguments = kernels.output, gates, record, kept, cotangent, sums, states
            sums, states = axes.mapped(lstm_sequence.step_back, *arguments)
            return later + slope, sums, states

        zeros = tf.nest.map_structure(tf.zeros_like, kernels)
        size = self._block_size
        ends = self.rule.split(self.rule.init_coordinates(size, tf.float32))[1]
        ends = axes.repeat(ends, self.num_lanes * self.num_blocks)
        _, sums, _ = loops.reverse(
            step_back, (end_slope, zeros, ends), self.unroll_length, tuple(records)
        )
        summed = tf.nest.map_structure(
            lambda x: tf.reduce_sum(
                tf.reshape(x, [self.num_lanes, self.num_blocks, *x.shape[1:]]), axis=1
            ),
            sums,
        )
        return axes.mapped(lstm_sequence.to_gradient, summed)

    def _through_updates(self, outputs, cotangent):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            updates = self.rule.updates(outputs)
        return tape.gradient(updates, outputs, output_gradients=cotangent)

    def _meta_step(self, meta, gradient, imitates):
        """`Epochs.meta_step` with the meta-optimizer of each lane's loss."""
        imitates &= not self._shared
        own, other = meta.meta_loss_optimizer, meta.imitation_optimizer
        used = meta._replace(meta_loss_optimizer=axes.where(imitates, other, own))

        def apply(meta, gradient):
            return self._epochs.meta_step(meta, gradient, imitates=False)

        after = axes.mapped(apply, used, gradient)
        state = after.meta_loss_optimizer
        return after._replace(
            meta_loss_optimizer=axes.where(imitates, own, state),
            imitation_optimizer=axes.where(imitates, state, other),
        )

    # One step.

    def _batches(self, seed, first, count: int, data: Images, scale) -> Callable:
        """The batches number first, ..., first + count - 1 of seeds [K, 2], first [K]."""
        size = self.optimizee.batch_size
        return minibatches.in_lanes(seed, first, count, size, data, scale)

    def _loss_and_gradients(self, params, batch):
        def one(params, batch):
            return unrolls.loss_and_gradients(self.optimizee, params, batch)

        return axes.mapped(one, params, batch)

    def _scaled_loss_and_gradients(self, params, scales, batch):
        """Those of f(s * theta)."""
        if not self._bound:
            return self._loss_and_gradients(params, batch)
        scaled = [p * s for p, s in zip(params, scales)]
        loss, grads = self._loss_and_gradients(scaled, batch)
        return loss, [g * s for g, s in zip(grads, scales)]

    def _rule_step(self, kernels, grads, state):
        """Outputs [K * C, width], the states after the step, and the record of it."""

        def one(kernels, grads, state):
            feature_state, lstm = self.rule.split(state)
            features, feature_state = self.rule.features(self.rule.seen(grads), feature_state)
            outputs, lstm, record = lstm_sequence.step(kernels, features, lstm)
            return outputs, self.rule.join(feature_state, lstm), record

        return axes.mapped(one, kernels, grads, state)

    def _updates(self, outputs, grads):
        """Updates [K * C, block_size] for gradients [K, *shape_i]."""
        updates = self.rule.updates(outputs)
        if not self.rule.drift.size:
            return updates
        return self._to_blocks(self.rule.drift.add(self._from_blocks(updates), grads, leading=1))

    def _teach(self, choice, grads, states, params):
        """Updates and states of the teachers that are drawn."""
        updates, after = [tf.zeros_like(p) for p in params], []
        for i, rule in enumerate(self.teachers.parts):
            drawn = tf.equal(choice, i)

            def one(grads, state, params, rule=rule):
                return rule.update(grads, state, params)

            moves, state = axes.mapped(one, grads, states[i], params)
            updates = axes.where(drawn, list(moves), updates)
            after.append(axes.where(drawn, state, states[i]))
        return updates, tuple(after)

    # Lanes and blocks.

    def _kernels(self, weights):
        return self._repeat_blocks(axes.mapped(lstm_sequence.to_kernels, weights))

    def _repeat_blocks(self, nest):
        return tf.nest.map_structure(lambda x: tf.repeat(x, self.num_blocks, axis=0), nest)

    def _to_blocks(self, tensors):
        """Tensors [K, *shape_i] as [K * C, block_size], filled up with zeros."""
        flat = coordinates.flatten(tensors, leading=1)
        padding = self.num_blocks * self._block_size - self._num_coordinates
        flat = tf.pad(flat, [[0, 0], [0, padding]])
        return tf.reshape(flat, [self.num_lanes * self.num_blocks, self._block_size])

    def _from_blocks(self, blocks):
        flat = tf.reshape(blocks, [self.num_lanes, self.num_blocks * self._block_size])
        return coordinates.unflatten(flat[:, : self._num_coordinates], self._like)

    def _where_blocks(self, mask, new, old):
        return axes.where(self._repeat_blocks(mask), new, old)
