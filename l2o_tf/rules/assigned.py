"""Different rules for different parameter tensors of one optimizee."""

from collections.abc import Callable, Mapping, Sequence

from l2o_tf.core import errors, loops, seeds
from l2o_tf.rules import base, composite


class Assigned(composite.Composite):
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
        super().__init__(rules.values(), name=name)
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

    def init_tensors(self, params, seed, weights):
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

    def update_tensors(self, grads, state, params, weights):
        return self.delegate(lambda rule: rule.update, grads, state, params, weights)

    def hold(self, before, after, params, given):
        return tuple(
            rule.hold(old, new, self._part(rule_name, params), self._part(rule_name, given))
            for (rule_name, rule), old, new in zip(self.rules.items(), before, after)
        )

    def true_params_of_parts(self, params, state):
        return self._joined(
            {
                rule_name: rule.true_params(self._part(rule_name, params), own)
                for (rule_name, rule), own in zip(self.rules.items(), state)
            }
        )

    @property
    def differentiator(self):
        without = [part for part in self.parts if part.differentiator is None]
        # A replay of gradients lets nothing depend on where the parameters have come to.
        if len(without) == len(self.parts) or any(part.looks_at_params for part in without):
            return None
        return _Differentiator(self)

    def delegate(
        self,
        method: Callable[[base.UpdateRule], Callable],
        grads: base.Params,
        state: base.State,
        params: base.Params,
        weights: base.Weights,
    ) -> tuple[base.Params, base.State]:
        """Lets each rule treat its tensors by one of its methods, `update` or `replay`."""
        updates, next_states = {}, []
        for (rule_name, rule), own in zip(self.rules.items(), state):
            updates[rule_name], own = method(rule)(
                self._part(rule_name, grads),
                own,
                self._part(rule_name, params),
                self._own(rule_name, weights),
            )
            next_states.append(own)
        return self._joined(updates), tuple(next_states)

    def _own(self, rule_name, weights):
        """The weights of one rule; None for an analytical one, which keeps its learning rate."""
        prefix = f"{rule_name}/"
        own = {
            key.removeprefix(prefix): value
            for key, value in weights.items()
            if key.startswith(prefix)
        }
        return own or None

    def _part(self, rule_name, tensors):
        return [t for t, assigned in zip(tensors, self.assignment) if assigned == rule_name]

    def _joined(self, by_rule):
        """Undoes `_part`."""
        parts = {rule_name: iter(tensors) for rule_name, tensors in by_rule.items()}
        return [next(parts[rule_name]) for rule_name in self.assignment]


class _Differentiator(base.Differentiator):
    def __init__(self, rule):
        self._rule = rule

    def replay(self, grads, state, params, weights):
        def method(rule):
            # The others would run step by step.
            return loops.compiled(rule.replay) if rule.differentiator is None else rule.replay

        return self._rule.delegate(method, grads, state, params, weights)
