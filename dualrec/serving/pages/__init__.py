"""A page to look at: what a user watched and was given, this night beside the one before, and how
the run went."""
