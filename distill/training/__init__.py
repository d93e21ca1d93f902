"""The training loop: optimiser, schedule, validation, checkpoints, several processes."""
