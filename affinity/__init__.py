"""Which tasks should share a network: affinity, groupings, audited gains."""
