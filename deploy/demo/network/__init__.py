"""Network namespaces, and paths between them whose delay, loss and speed can change meanwhile.

The demo's nodes are made of them, and so are the tests of the network layer. Rules: no names that
outlive a process, so that nothing is left of it however it ends; nothing here imports the product.
"""
