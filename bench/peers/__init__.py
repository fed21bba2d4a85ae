"""The same two jobs built on other software. Each file runs in a virtual environment of its own and imports nothing of the project."""
