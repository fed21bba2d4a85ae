"""The tables of visits, as SQLAlchemy maps them. A change here needs a migration; a test compares the two."""
