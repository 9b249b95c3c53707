"""The control plane: Kubernetes objects in, route tables and answers out."""
