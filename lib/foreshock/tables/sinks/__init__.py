"""Where tables are published, one technology a file behind one protocol."""
