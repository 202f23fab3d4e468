"""Decodes recordings in a child process; the only room that starts processes."""
