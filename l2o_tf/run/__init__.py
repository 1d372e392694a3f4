"""A meta-training run: its flags, its parts, its directory, what a person sees of it."""
