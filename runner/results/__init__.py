"""What a run leaves on disk: columns, rows, the crash-safe writer, run.json, and their readers."""
