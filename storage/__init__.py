"""The durable ways of writing, known by all and knowing nobody."""
