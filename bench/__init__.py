"""``make bench``: what the engine reaches on this machine, as ratios to the machine's own limit in the same run."""
