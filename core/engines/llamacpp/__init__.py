"""llama.cpp, on llama_cpp's low-level bindings."""
