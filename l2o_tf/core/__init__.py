"""What all layers use: errors, flags, seeds, loops, coordinates, registry, files."""
