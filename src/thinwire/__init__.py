"""Thinwire: compress the input embeddings of a language model, and measure whether LoRA helps to use them."""

__version__ = "0.1.0"
