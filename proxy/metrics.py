"""What an engine counts by route, and its bound. `docs/METRICS.md` lists the families."""

METRICS_ROUTES_MAX = 512
"""Routes with labels of their own in metrics: those with the most requests; the others share one
set. With the names of ingress-nginx some 140,000 lines and 37 MB of text, which Prometheus asks for
compressed. In memory 1.5 KiB a route, and 0.4 KiB for each method and status of one."""
