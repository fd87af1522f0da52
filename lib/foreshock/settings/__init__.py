"""Settings of a run: typed, frozen, checked when they are loaded.

A file per section; `root` has the whole with the checks across sections, `load` reads a conf file,
`identity` tells two runs apart, `reference` renders the reference page from the sections.
"""
