"""What the screens are made of; every widget draws from plain values or an immutable snapshot."""
