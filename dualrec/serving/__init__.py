"""Serves published nights over HTTP: the lists as they were published, and the sequence model for
everybody else."""
