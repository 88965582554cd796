"""The model behind HTTP: embeddings as OpenAI's clients expect them, search, reranking, and a search page."""
