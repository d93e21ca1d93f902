"""Datasets: place recognition in the MSLS layout, image retrieval with class labels, and rendered stand-ins of both."""
