"""The composition root: the only place of the control plane that sees everything."""

from ingress_controller.run.life import serve

__all__ = ["serve"]
