"""What every page that a run leaves has in common: its frame, its style, how it is made from a template."""
