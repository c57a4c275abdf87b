"""Publishing: a staged night becomes the table that readers see, whole or not at all."""
