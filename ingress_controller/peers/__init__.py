"""Several replicas answer as one: whom to ask, what is asked of them, how answers become one.

Rules: a replica that is asked by another answers for itself alone, so that no question goes round;
one that does not answer costs a bounded time, and is named in the answer.
"""
