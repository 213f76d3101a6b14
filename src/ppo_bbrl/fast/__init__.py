"""Other engines of the same update: the same weights, sooner."""
