"""More than one machine, by Ray: photos described, maps and caches held in shards, answers merged."""
