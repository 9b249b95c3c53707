"""The hand-over of listening sockets from a running process to the one that follows it.

The sockets themselves go, over a Unix socket: with SO_REUSEPORT alone, closing one would reset the
connections that wait in it. Precedents: HAProxy `expose-fd listeners`, Envoy's hot restart.
"""
