// Package metadata owns the tables and migrations, on SQLite and PostgreSQL,
// and implements every Catalog, Store and Directory.
package metadata
