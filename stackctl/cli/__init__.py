"""What all commands share: lazy loading, output, progress, exit codes."""
