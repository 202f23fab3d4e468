"""Decode recordings in a sandboxed child process; the only room that starts processes."""
