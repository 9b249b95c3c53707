"""Spanway beside nginx and HAProxy: cost per request, throughput and latency in one run."""
