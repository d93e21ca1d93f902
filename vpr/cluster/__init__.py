"""Several machines, with Ray: describing photos, and searching maps and databases in shards."""
