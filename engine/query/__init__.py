"""Typed queries: the binder, the fetch planner, the SQL generator and what runs SQL."""
