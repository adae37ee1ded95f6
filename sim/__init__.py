"""The simulator: the same machines in virtual time."""
