"""Programs that measure; their figures stand in the documentation."""
