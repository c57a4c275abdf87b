"""From traces to ranked lists, and the weights of the models in them."""
