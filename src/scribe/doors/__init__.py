"""The platforms that hand out jobs, one module each."""
