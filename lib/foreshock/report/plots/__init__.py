"""The report's figures, each a string of inline SVG, or "" if there is nothing to draw."""
