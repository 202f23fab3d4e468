"""The house behind the doors: one noun, one file. A file imports only from floors below its own (see PRD.md)."""
