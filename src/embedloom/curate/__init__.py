"""Curation: every example is kept, or dropped with a reason."""
