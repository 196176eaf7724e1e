"""Coding agents and other clients that are started on the server of this machine."""
