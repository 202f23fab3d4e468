"""Detect voice activity: the spans of speech in a recording."""
