"""The public contract: what a job may ask and what an answer holds. Pure data."""
