"""The HTTP service of `vpr.serve`: a photo in the request, its position in the answer."""
