"""What Kubernetes is told: addresses of Ingresses, Events for Problems; by one of all replicas."""
