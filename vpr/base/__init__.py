"""The foundation: errors, files, the machine, settings, run folders. `datasets` imports nothing else of `vpr`."""
