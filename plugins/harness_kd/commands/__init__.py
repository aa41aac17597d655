"""The commands that the plugin brings, one module each."""
