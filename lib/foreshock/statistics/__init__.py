"""Pure statistics without knowledge of events: the ground floor."""
