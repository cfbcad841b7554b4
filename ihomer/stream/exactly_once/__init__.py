"""Exactly once, from topics to topics: slots, transactions, journal, recovery."""
