"""The first detector family: windows of events, cut, stored, modelled and scored."""
