"""Process text without audio or models: split it into sentences."""
