"""Scale: files of texts to files of vectors, on this machine or on a cluster."""
