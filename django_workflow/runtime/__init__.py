"""What moves runs: triggered by the client, claimed by workers, passed by the executor, watched by the leases."""
