"""Requests in, traces out: the Ray Data pipeline of all models."""
