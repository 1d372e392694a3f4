"""Trained rules, one exported rule `NAME/rule.npz` with its card `NAME/rule.json` each."""
