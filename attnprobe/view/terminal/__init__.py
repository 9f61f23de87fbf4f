"""What a terminal shows: runs and sweeps, comparisons, scores, leaderboards."""
