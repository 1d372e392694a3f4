"""Files of the legacy code, read and written without running anything that is in them."""
