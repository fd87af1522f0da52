"""Windows as blocks, equal to brute force at any partitioning."""
