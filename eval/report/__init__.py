"""The HTML report: rankings before and after re-ranking, matches of patches, confidence, and errors, on one page."""
