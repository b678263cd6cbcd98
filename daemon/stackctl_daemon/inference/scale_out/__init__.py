"""Models on another scheduler's replicas, behind the daemon's own queue, catalogue and API.

To the pool a cluster is one more device. Its worker process is a bridge, which speaks the
worker's protocol to the daemon and passes each request on to a replica; in the replica our
worker runs as it is, batcher and adapters included.

    daemon -- socket --> bridge -- Ray Serve --> replica: Worker in a thread

Only `ray_serve` knows Ray; nothing is imported before the settings ask for it.
"""
