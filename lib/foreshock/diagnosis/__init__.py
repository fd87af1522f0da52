"""Why a detector flags what it flags: drift between splits, tails, and the verdict."""
