"""Meta-training: unrolls of a rule, their losses, and what is learned from them, without files."""
