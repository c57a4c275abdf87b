"""What jobs need of Ray: sessions, training runs, logs, progress, metrics, tracking."""
