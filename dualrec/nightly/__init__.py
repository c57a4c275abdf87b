"""The nightly job: what is new is scored, the rest carried over, and the whole published or not at
all."""
