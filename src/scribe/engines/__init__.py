"""Speech recognition: chunks of audio to segments of text."""
