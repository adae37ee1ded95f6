"""Learning: the training loop, recipes for bottlenecks, early exits."""
