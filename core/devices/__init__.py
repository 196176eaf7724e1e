"""What models can lie in and be computed on: the host, and the accelerators that the drivers and libraries tell of."""
