"""The service's durable workflows; they use nothing but the library's public workflow side."""
