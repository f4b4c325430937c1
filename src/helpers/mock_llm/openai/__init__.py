"""OpenAI's dialect: Chat Completions, Responses, Embeddings."""
