"""Two result files side by side: what changed, how well that is known, and what could explain it."""
