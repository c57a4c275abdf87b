"""Filesystems, and the artifacts that lie on them."""
