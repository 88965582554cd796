"""The data factory: tasks, prompts, parsing."""
