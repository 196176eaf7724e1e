"""An example of a plugin: models that count which word follows which, an engine that runs them, and a theme."""
