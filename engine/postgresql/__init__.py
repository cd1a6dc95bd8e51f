"""A catalogue in PostgreSQL, which a team shares: rows of stores, and answers of queries over them."""
