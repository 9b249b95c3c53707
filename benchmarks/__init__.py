"""Spanway beside nginx, HAProxy, Envoy and Caddy: what requests cost and how long they take."""
