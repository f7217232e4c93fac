"""Joins shards: those of a run to one run, those of a sweep job by job to one sweep."""
