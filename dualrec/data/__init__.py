"""From raw interactions to a catalog and one history a user."""
