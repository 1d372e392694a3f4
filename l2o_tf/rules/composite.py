"""What rules that are made of rules have in common."""

from collections.abc import Iterable

from l2o_tf.rules import base


class Composite(base.UpdateRule):
    """A rule made of rules: what one of them asks of its user, the whole asks.

    Attributes:
        parts: the rules.
    """

    def __init__(self, parts: Iterable[base.UpdateRule], name: str | None = None):
        """Takes the traits of all rules."""
        super().__init__(name=name)
        self.parts = tuple(parts)
        self.learned = any(part.learned for part in self.parts)
        self.learned_start = any(part.learned_start for part in self.parts)
        self.scores_elsewhere = any(part.scores_elsewhere for part in self.parts)
        self.looks_at_params = any(part.looks_at_params for part in self.parts)

    def true_params(self, params: base.Params, state: base.State) -> base.Params:
        """Those of the parts, where one of them is scored elsewhere; see `UpdateRule`."""
        if not self.scores_elsewhere:
            return list(params)
        return self.true_params_of_parts(params, state)

    def true_params_of_parts(self, params: base.Params, state: base.State) -> base.Params:
        """What `true_params` returns, from the `true_params` of the parts."""
        raise NotImplementedError
