"""How well documents answer a query, in the shapes of Jina, Cohere, text-embeddings-inference and llama.cpp."""
