"""Pages to look at: what a user watched and was recommended, beside the previous snapshot, and how
the run went."""
