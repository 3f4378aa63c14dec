"""Who published what is in a registry: keys of one's own, signatures, trust, and which index is the newest."""
