"""The command line: opens files, calls one stage, shows progress. The only place where a recipe meets the rooms."""
