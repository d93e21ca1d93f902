"""What everything stands on: errors, files, the machine, settings and run folders; the only part that `datasets` imports."""
