"""Throughput, latency and CPU time of Sensorium beside its peers, in one run on one machine: `python -m bench --help`."""
