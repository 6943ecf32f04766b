// Package server owns building the rooms from the configuration, the mux, TLS,
// the access log, health and shutdown.
package server
