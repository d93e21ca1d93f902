"""Evaluation under the MSLS protocol: metrics, prediction files, submissions, commands."""
