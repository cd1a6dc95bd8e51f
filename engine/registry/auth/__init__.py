"""Authentication: tokens, credentials and logins."""
