"""Records that the summary and the page are made from: plain facts of a run, frozen."""
