"""Answers made visible: output forms, docker's templates, human units."""
