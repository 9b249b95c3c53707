"""A client, Spanway and an app in network namespaces of their own, with a path between each two.

    client ──── the client's path ──── Spanway ──── the cluster's path ──── app

Spanway is in the namespace of the tests. What a path does to packets is said while they flow.
"""
