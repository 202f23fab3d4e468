"""Addresses that a job may name, and the guarded client that opens them; the only room with sockets."""
