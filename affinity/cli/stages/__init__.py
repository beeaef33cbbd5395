"""The stages of an audit, each kept in the run's folder and run again only where it must."""
