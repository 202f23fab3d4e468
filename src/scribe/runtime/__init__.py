"""Deal with the machine: threads, GPU memory and its errors, logs, redaction of secrets."""
