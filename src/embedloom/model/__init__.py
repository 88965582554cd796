"""The embedding model: input contract, backbone, encoder."""
