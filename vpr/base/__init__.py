"""What everything stands on: errors, files, the machine, settings, run folders. `datasets` imports nothing else."""
