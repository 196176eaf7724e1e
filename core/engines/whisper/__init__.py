"""Whisper speech models in ggml files, on whisper.cpp through pywhispercpp."""
