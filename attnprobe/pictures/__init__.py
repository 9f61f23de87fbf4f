"""Pictures and labels in files and in colours: read, written and overlaid, known to all."""
