"""The meaning of imq: tables, binding, plans, SQL, sources, store, registry client, layers, actions, rendering."""
