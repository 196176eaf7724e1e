"""What stands around the message while it is written: earlier messages, files, pastes."""
