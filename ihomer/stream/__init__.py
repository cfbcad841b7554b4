"""Top floor: decode, predict, score, learn, write; replay, daemon and command line."""
