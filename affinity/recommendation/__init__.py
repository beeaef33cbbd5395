"""Which sharing each group gets, and why."""
