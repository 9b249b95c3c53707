"""The data plane: a route table in, requests moved, spans out. Usable without Kubernetes."""
