"""Kubernetes objects become typed values, or Problems that say what is wrong with them. Pure."""
