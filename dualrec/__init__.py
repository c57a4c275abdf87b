"""Nightly movie recommendations by a sequence model and a language model together, on Ray.

An implementation of DUALRec (Li and Grasman, RecSys 2025, arXiv 2507.13957). Importing the package
loads nothing
heavy: torch, vLLM and transformers are imported by the workers that use them.
"""

__version__ = "0.1.0"
