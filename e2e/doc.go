// Package e2e drives the real sallyport binary with unmodified clients, kills
// it, cuts its power and fills its disk. It is a module of its own so that
// "go test ./..." in the product stays quick; "make test" runs both.
package e2e
