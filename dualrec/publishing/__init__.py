"""Publishing: a staged snapshot becomes the table that readers see, whole or not at all."""
