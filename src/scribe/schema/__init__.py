"""The public contract: the keys of a job, how they are checked, and the keys of an answer."""
