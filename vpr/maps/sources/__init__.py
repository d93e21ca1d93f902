"""Where the positions of photos of a map come from: folders and lists, and the tracks of videos."""
