"""embedloom turns a language model into a text-embedding model, and proves that it did."""

from embedloom.errors import EmbedloomError

__all__ = ["EmbedloomError", "__version__"]
__version__ = "0.1.0"
