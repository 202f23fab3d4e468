"""The machine below the worker: threads, GPU memory and its errors, logs, redaction of secrets."""
