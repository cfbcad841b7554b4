"""Experts: the models of one cluster's labels whose probabilities are put together."""
