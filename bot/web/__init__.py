"""What is served over HTTP: health, readiness, metrics. It reads the store and nothing else."""
