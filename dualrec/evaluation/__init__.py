"""How good the lists are, under named protocols, beside simple rivals."""
