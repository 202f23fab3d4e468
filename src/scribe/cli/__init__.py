"""The command line: sends recordings to an endpoint and keeps what it answers."""
