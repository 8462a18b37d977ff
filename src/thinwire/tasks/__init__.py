"""What the model is asked to do: each task in a file, with its prompt, its score and the thresholds of its verdict."""
