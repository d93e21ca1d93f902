"""One page that shows what was retrieved, what re-ranking changed, which patches matched, how sure it is, and where it
fails."""
