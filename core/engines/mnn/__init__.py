"""MNN, on the LLM runtime (MNN-LLM) of its Python package."""
