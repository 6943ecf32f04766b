// Command browser is a person with Chromium, and the OpenID provider that knows this
// person: zitadel's example, made to leave where a real one lets people go. It is a
// module of its own, which only make test-all builds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
)

// A request is one line of standard input.
type request struct {
	Do       string // open, type, click, see, script, cookies, complaints, issued, forget
	At, Text string // a CSS selector; what is opened, typed, waited for or forgotten
}

// An answer is one line of standard output: the page as it is then, and what was
// asked for.
type answer struct {
	URL, Text string
	Found     []string
	Error     string
}

func main() {
	var p provider
	flag.StringVar(&p.issuer, "issuer", "", "the provider's URL")
	flag.StringVar(&p.listen, "listen", "", "where it listens")
	flag.StringVar(&p.cert, "cert-file", "", "its certificate")
	flag.StringVar(&p.key, "key-file", "", "the key of that")
	flag.StringVar(&p.secret, "secret-file", "", "the secret of the client \"reg\"")
	flag.StringVar(&p.redirect, "redirect", "", "where it may send people back to")
	flag.StringVar(&p.users, "users-file", "", "who they are: JSON of the example's users by id")
	profile := flag.String("profile", "", "Chromium's directory")
	trust := flag.String("trust", "", "SHA-256 of the public keys that Chromium trusts, in base64, with commas")
	flag.Parse()
	if err := serve(&p, *profile, *trust); err != nil {
		log.Fatal(err)
	}
}

func serve(p *provider, profile, trust string) error {
	if err := p.start(); err != nil {
		return err
	}
	b, err := openBrowser(context.Background(), profile, trust)
	if err != nil {
		return err
	}
	defer b.close()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var r request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := out.Encode(r.serve(p, b)); err != nil {
			return err
		}
	}
}

func (r request) serve(p *provider, b *browser) answer {
	var a answer
	var err error
	switch r.Do {
	case "issued":
		a.Found = p.issuedTo(r.Text)
	case "forget":
		err = p.forget(r.Text)
	case "cookies":
		a.Found, err = b.cookies()
	case "complaints":
		a.Found = b.complaints()
	case "open":
		err = b.open(r.Text)
	case "type":
		err = b.typed(r.At, r.Text)
	case "click":
		err = b.click(r.At)
	case "see":
		err = b.see(r.Text)
	case "script":
		err = b.script(r.Text == "on")
	default:
		err = fmt.Errorf("nobody can %q", r.Do)
	}
	if !slices.Contains([]string{"issued", "forget"}, r.Do) {
		a.URL, a.Text = b.page()
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}
