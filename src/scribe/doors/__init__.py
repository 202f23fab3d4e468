"""Connect the job runner to the platforms that deliver jobs, one module each."""
