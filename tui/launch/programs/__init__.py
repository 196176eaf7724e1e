"""One file a program; `registry.py` is the table of them."""
