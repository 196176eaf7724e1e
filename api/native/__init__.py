"""The workbench's own endpoints: what it is doing, in numbers."""
