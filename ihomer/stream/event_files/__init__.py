"""Events of any source as a file in another format than JSON Lines."""
