"""Where photos were taken: positions in EXIF, file names and lists; degrees and metres. Maps and data sets use it."""
