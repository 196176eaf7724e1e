"""The engine for executorch programs; the runtime lives in a process of its own."""
