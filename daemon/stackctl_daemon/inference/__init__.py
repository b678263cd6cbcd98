"""Running models on devices, one worker process each."""
