"""Settings: one typed class a job, read from YAML and `--set a.b=c`."""
