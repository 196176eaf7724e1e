"""OpenAI's Responses: over HTTP and WebSocket, with a memory of earlier responses."""
