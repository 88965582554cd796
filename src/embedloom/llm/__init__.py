"""Text from any LLM."""
