"""All steps in order: what is checked and estimated before the first begins."""
