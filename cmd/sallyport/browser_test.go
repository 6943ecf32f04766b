package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/sallyport/sallyport/internal/client/browser/browsertest"
)

// testBrowser is a program that does what the administrator would: with the page of
// a sign-in, or with a page and the code to type there. It trusts $TEST_BROWSER_CA;
// the password is in the file $TEST_BROWSER_PASSWORD.
func testBrowser() {
	if err := browse(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func browse(args []string) error {
	ca, err := os.ReadFile(os.Getenv("TEST_BROWSER_CA"))
	if err != nil {
		return err
	}
	password, err := os.ReadFile(os.Getenv("TEST_BROWSER_PASSWORD"))
	if err != nil {
		return err
	}
	b, err := browsertest.New(ca)
	if err != nil {
		return err
	}
	b.Name, b.Password = "admin", strings.TrimSpace(string(password))
	if len(args) == 1 {
		_, err = b.Open(args[0])
		return err
	}
	_, err = b.Approve(args[0], args[1], "approve")
	return err
}
