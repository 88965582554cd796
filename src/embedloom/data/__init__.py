"""Data in the formats of the field: corpora, retrieval sets, training rows, batches."""
