"""Serves the active snapshot over HTTP: the lists as they were published, and the sequence model
for users without one."""
