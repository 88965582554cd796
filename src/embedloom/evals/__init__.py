"""Evaluation: metrics, task families, baselines and the report."""
