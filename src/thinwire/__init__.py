"""Thinwire: compress the embeddings an LLM reads, and measure whether LoRA helps it read them."""

__version__ = "0.1.0"
