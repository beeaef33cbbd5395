"""Integrations with other tools; each imports its library only when used."""
