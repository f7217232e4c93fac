"""What people see of results: progress while a run is on, and the summary at its end."""
