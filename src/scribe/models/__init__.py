"""Choose the models, download them, load each one once and free it when its memory is needed."""
