"""Public data sets: what there is, where it comes from, where it lies, and how it gets there."""
