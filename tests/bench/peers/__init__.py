"""What `bench_inference` runs beside the daemon: the raw loop, other servers, the client."""
