"""One thin script a job: parses settings and calls one function of `dualrec`."""
