"""The service of `vpr.serve`: photos in over HTTP, where they were taken out."""
