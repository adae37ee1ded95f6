"""Sans-I/O state machines: events and the time go in, actions come out.

Nothing in this package opens a socket, reads a clock, sleeps or starts a thread, so the same
machines drive real processes and the simulator.
"""
