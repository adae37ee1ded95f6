"""Emulated links, and the machines of edge and cloud in virtual time."""
