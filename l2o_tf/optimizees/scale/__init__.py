"""The problems of L2O-Scale's package, and the sets that meta-training draws them from."""
