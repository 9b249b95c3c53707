"""The aggregated API `live.spanway.io/v1`: what `kubectl get requests` asks, by way of the API
server."""
