"""Reads metrics as Prometheus does: from the metrics port of each node of the Ray session."""

import time
from collections.abc import Callable

import ray
import requests
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, ...], float]


def samples_of(text: str) -> Samples:
    """Samples by name and label values; of those that differ only in Ray's own labels, the sum."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "dualrec_" in sample.name:
                own = (value for name, value in sorted(sample.labels.items()) if name in OWN)
                key = (sample.name.removeprefix("ray_"), *own)
                found[key] = found.get(key, 0.0) + sample.value
    return found


OWN = {"direction", "gate", "job", "kind", "match", "part", "source", "split", "state"}


def scraped_until(enough: Callable[[Samples], bool], seconds: float = 60) -> Samples:
    """Scrape the session until there is enough; what there is after so many seconds otherwise."""
    until = time.monotonic() + seconds
    while True:
        found: Samples = {}
        for node in ray.nodes():
            if node["Alive"]:
                url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
                found |= samples_of(requests.get(url, timeout=30).text)
        if enough(found) or time.monotonic() > until:
            return found
        time.sleep(1)
