"""Training: loss, loop, checkpoint."""
