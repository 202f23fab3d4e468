"""Verify speakers: compute speaker embeddings and match them to enrolled voices."""
