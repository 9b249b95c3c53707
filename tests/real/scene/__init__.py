"""The scene of the real-part tests: real programs as child processes, on pod addresses.

Rules: nothing here imports the product. Everything blocks; an async test calls it through
`asyncio.to_thread` where traffic must keep flowing meanwhile. Whoever starts a part stops it.
"""
