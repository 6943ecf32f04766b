package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const clientID = "reg"

// A provider is zitadel's example, with people and a client of its own. It notes
// every secret that it issues.
type provider struct {
	issuer, listen, cert, key, secret, redirect, users string

	people *people
	store  *directory

	mu     sync.Mutex
	issued map[string][]string // by kind
}

// start serves until the program ends.
func (p *provider) start() error {
	secret, err := os.ReadFile(p.secret)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(p.users)
	if err != nil {
		return err
	}
	p.people, p.issued = &people{}, map[string][]string{}
	if err := json.Unmarshal(text, &p.people.users); err != nil {
		return err
	}
	storage.RegisterClients(storage.WebClient(clientID, strings.TrimSpace(string(secret)), p.redirect))
	p.store = &directory{storage.NewStorage(p.people)}
	example := exampleop.SetupServer(p.issuer, p.store, slog.New(slog.NewTextHandler(os.Stderr, nil)), false)
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", p.listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /frame", frame)
	mux.Handle("/", p.noting(example))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { log.Fatal(server.ServeTLS(listener, p.cert, p.key)) }()
	return nil
}

// frame is a page of another site that shows a page in a frame.
func frame(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, `<!doctype html><p>a frame</p><iframe src="%s"></iframe>`, html.EscapeString(r.URL.Query().Get("of")))
}

// noting lets a handler serve, and notes the codes and tokens in its answers.
func (p *provider) noting(serve http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			log.Print(err)
		}
		kept := &keeper{ResponseWriter: w}
		serve.ServeHTTP(kept, r)
		if u, err := url.Parse(w.Header().Get("Location")); err == nil {
			p.note("code", u.Query().Get("code"))
			p.note("state", u.Query().Get("state"))
		}
		var tokens map[string]any
		if json.Unmarshal(kept.body.Bytes(), &tokens) != nil {
			return
		}
		for _, kind := range []string{"access_token", "refresh_token", "id_token"} {
			s, _ := tokens[kind].(string)
			p.note(kind, s)
		}
		if r.PostForm.Get("grant_type") == "refresh_token" {
			p.note("renewal", fmt.Sprint(tokens["error"]))
		}
	})
}

// A keeper keeps what it lets through.
type keeper struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (k *keeper) Write(b []byte) (int, error) {
	k.body.Write(b)
	return k.ResponseWriter.Write(b)
}

func (p *provider) note(kind, s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s != "" {
		p.issued[kind] = append(p.issued[kind], s)
	}
}

// issuedTo returns what was issued of a kind.
func (p *provider) issuedTo(kind string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.issued[kind]...)
}

// forget lets somebody go, and ends what they had.
func (p *provider) forget(name string) error {
	u := p.people.GetUserByUsername(name)
	if u == nil {
		return fmt.Errorf("nobody is called %q", name)
	}
	p.people.remove(u.ID)
	return p.store.TerminateSession(context.Background(), u.ID, clientID)
}

// people are who can sign in.
type people struct {
	mu    sync.Mutex
	users map[string]*storage.User
}

func (p *people) GetUserByID(id string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users[id]
}

func (p *people) GetUserByUsername(name string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.users {
		if u.Username == name {
			return u
		}
	}
	return nil
}

func (*people) ExampleClientID() string { return "service" }

func (p *people) remove(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.users, id)
}

// A directory says of people in which groups they are, which the example does not.
type directory struct{ *storage.Storage }

func (d *directory) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, tokenID, subject, origin string) error {
	err := d.Storage.SetUserinfoFromToken(ctx, info, tokenID, subject, origin)
	info.AppendClaims("groups", []string{"dev"})
	return err
}

var _ op.CanSetUserinfoFromRequest = (*directory)(nil)
