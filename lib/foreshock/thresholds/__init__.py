"""Error distributions, threshold rules and their intervals."""
