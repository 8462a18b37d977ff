"""Reports, made from records alone: nothing here loads a model."""
