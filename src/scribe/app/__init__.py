"""Wires the settings into a worker, and joins the command with what needs one."""
