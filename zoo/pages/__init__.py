"""What people look at: a version's card, its page, and the web site of a registry."""
