"""The command `scribe`: send recordings to an endpoint, or to the worker on this machine, and write the transcripts."""
