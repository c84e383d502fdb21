"""PostgreSQL: the audit's tables, migrations, connection, and what its errors mean."""
