// Package ui owns the pages: where people sign in with a browser for a program
// of ours that logs in, and approve one that waits on another machine.
package ui
