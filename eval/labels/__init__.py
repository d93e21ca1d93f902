"""Image retrieval with class labels: metrics and evaluation."""
