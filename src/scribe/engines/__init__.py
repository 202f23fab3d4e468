"""Recognize speech: turn chunks of audio into segments of text."""
