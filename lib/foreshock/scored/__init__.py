"""Scored events: the contract between detectors and all that is made of scores."""
