"""Joins the rooms into stages; only these modules may import several rooms."""
