"""Where the positions of photos come from: EXIF, names, lists, and the tracks of videos."""
