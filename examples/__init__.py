"""Programs that show how ihomer is used; each is run by a test."""
