"""What models write, read: thoughts, words and calls of tools. One file a family of models."""
