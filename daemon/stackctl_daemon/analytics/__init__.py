"""What happened: durable events and the figures drawn from them."""
