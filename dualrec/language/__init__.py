"""Stages 2 and 3: a language model writes titles, which are tied to items and reranked by a
sentence encoder."""
