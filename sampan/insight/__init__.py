"""Read-only views over every service: what takes the disk, what a prune would take, what does not fit."""
