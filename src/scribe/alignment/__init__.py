"""Forced alignment: find the times of each word in the audio."""
