"""Several machines, with Ray: describing photos, maps and caches in shards, merging the answers."""
