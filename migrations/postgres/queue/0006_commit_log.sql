-- SQLite only: there is a log in front of it. Postgres has its own.
SELECT 1;
