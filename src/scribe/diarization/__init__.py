"""Diarize recordings (who speaks when), and assign the speakers to words and segments."""
