"""From raw interactions to a catalogue and one history a user."""
