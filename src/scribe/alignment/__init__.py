"""Forced alignment: when each word was spoken."""
