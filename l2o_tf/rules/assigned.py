"""Different rules for different parameter tensors of one optimizee."""

from collections.abc import Mapping, Sequence

from l2o_tf.core import errors, seeds
from l2o_tf.rules import base


class Assigned(base.UpdateRule):
    """Gives each parameter tensor to one of several rules.

    The state is a tuple of the rules' states; the weights are those of the learned rules, each
    named after its rule, a slash, and its name in the rule. Source: legacy `meta.py`,
    net_assignments.
    """

    def __init__(
        self,
        rules: Mapping[str, base.UpdateRule],
        assignment: Sequence[str],
        name: str | None = None,
    ):
        """Combines rules.

        Args:
            rules: the rules by name.
            assignment: the name of the rule of each parameter tensor, such as
                `optimizees.create("simple_multi").assignment`.
            name: the module's name.

        Raises:
            InputError: if a tensor has no rule or a rule has no tensor.
        """
        super().__init__(name=name)
        self.learned_start = any(rule.learned_start for rule in rules.values())
        if set(rules) != set(assignment):
            raise errors.InputError(
                f"parameters are assigned to the rules {sorted(set(assignment))}, but the rules"
                f" are {sorted(rules)}; give exactly one rule for each name"
            )
        self.rules = dict(rules)
        self.assignment = tuple(assignment)
        self._variables = {
            f"{rule_name}/{key}": variable
            for rule_name, rule in self.rules.items()
            for key, variable in rule._variables.items()
        }

    def init(self, params, seed: seeds.Seed | None = None, weights=None):
        """Returns the rules' states; raises InputError for another number of parameters."""
        if len(params) != len(self.assignment):
            raise errors.InputError(
                f"{len(self.assignment)} parameter tensors are assigned to rules, but the"
                f" optimizee has {len(params)}; assign each of them"
            )
        return tuple(
            rule.init(
                self._part(rule_name, params),
                None if seed is None else seeds.fold(seed, i),
                self._own(rule_name, weights),
            )
            for i, (rule_name, rule) in enumerate(self.rules.items())
        )

    def update(self, grads, state, params, weights=None):
        return self._delegate(lambda rule: rule.update, grads, state, params, weights)

    def replay(self, grads, state, params, weights=None):
        return self._delegate(lambda rule: rule.replay, grads, state, params, weights)

    def _delegate(self, method, grads, states, params, weights):
        weights = self.weights() if weights is None else weights
        updates, next_states = {}, []
        for (rule_name, rule), state in zip(self.rules.items(), states):
            part, state = method(rule)(
                self._part(rule_name, grads),
                state,
                self._part(rule_name, params),
                self._own(rule_name, weights),
            )
            updates[rule_name] = iter(part)
            next_states.append(state)
        return [next(updates[rule_name]) for rule_name in self.assignment], tuple(next_states)

    def _own(self, rule_name, weights):
        """The weights of one rule; None for an analytical one, which keeps its learning rate."""
        prefix = f"{rule_name}/"
        own = {
            key.removeprefix(prefix): value
            for key, value in (weights or {}).items()
            if key.startswith(prefix)
        }
        return own or None

    def _part(self, rule_name, tensors):
        return [t for t, assigned in zip(tensors, self.assignment) if assigned == rule_name]
