"""Isolation: every attempt of a cell runs in a child process that may crash, hang or flood, and costs one row."""
