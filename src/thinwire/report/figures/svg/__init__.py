"""What every figure is drawn with: elements, text widths, scales and axes, places for labels, colours."""
