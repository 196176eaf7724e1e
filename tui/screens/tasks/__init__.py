"""What models do that answer nobody: hearing speech, and telling how alike texts are."""
