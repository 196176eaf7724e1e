"""Any server that speaks OpenAI's dialect, as one more engine: vLLM, llama-server, another benchtop."""
