"""The in-process core: models, engines, scheduling, caching, measuring. Knows no front end."""
