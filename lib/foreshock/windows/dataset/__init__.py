"""Petastorm datasets of window blocks: schema, writer, reader."""
