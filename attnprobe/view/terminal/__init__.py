"""What a terminal shows: runs and sweeps, comparisons, evaluations, league tables."""
