"""The stages of an audit, kept in the run's folder; run again only if their inputs changed."""
