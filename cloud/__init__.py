"""The cloud: the process that finishes what devices begin."""
