"""Search: the vector index and what is built on it."""
