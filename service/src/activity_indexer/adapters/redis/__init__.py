"""Redis: the store of seen ids, the client, and what its errors mean."""
