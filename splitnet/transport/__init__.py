"""The transport: the only room that touches ZeroMQ, and the loop that waits for its sockets."""
