package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

// flooders is how many clients guess passwords.
const flooders = 64

// flood: while many guess the password of one account, each from an address of
// its own, its owner pulls and logs in as before, by password too. Beside them, valid users of CNCF distribution, which
// checks a password with every request.
func (b *bench) flood() error {
	pull := get(b.ours.base+"/v2/"+repo+"/manifests/"+digestOf(b.in.manifest), b.in.auth)
	tokenURL := b.ours.base + "/token?scope=repository:" + repo + ":pull"
	key := get(tokenURL, basic("bench", b.in.key))
	identity := get(tokenURL, basic("bench", b.in.identityToken))
	password := get(tokenURL, b.login())
	theirs := b.distLogin.base + "/v2/" + repo + "/manifests/" + digestOf(b.in.manifest)
	kinds := []struct {
		name    string
		p       *process
		guessAt string
		op      func(int, int) error
	}{
		{"pull", b.ours, b.ours.base + "/token", pull},
		{"login by key", b.ours, b.ours.base + "/token", key},
		{"login by identity token", b.ours, b.ours.base + "/token", identity},
		{"login by password", b.ours, b.ours.base + "/token", password},
		{"distribution htpasswd: pull", b.distLogin, b.distLogin.base + "/v2/", get(theirs, b.in.login)},
	}
	fmt.Printf("\nwrong passwords from %d clients (4 valid clients)\n  %-28s %10s %10s %8s\n", flooders, "p99", "quiet", "flooded", "ratio")
	for _, k := range kinds {
		var quiet, flooded, ratio []float64
		for range b.runs {
			q, err := measure(k.p, 4, 1500*time.Millisecond, k.op)
			if err != nil {
				return err
			}
			stop := guess(k.guessAt)
			f, err := measure(k.p, 4, 1500*time.Millisecond, k.op)
			guesses := stop()
			if err != nil {
				return err
			}
			if guesses == 0 {
				return fmt.Errorf("nobody guessed")
			}
			quiet, flooded = append(quiet, float64(q.p99)), append(flooded, float64(f.p99))
			ratio = append(ratio, float64(f.p99)/float64(q.p99))
		}
		target := ""
		if k.name == "pull" {
			target = verdict(3, median(ratio) <= 3, "<=")
		}
		fmt.Printf("  %-28s %10s %10s %8.2f%s\n", k.name, short(time.Duration(median(quiet))), short(time.Duration(median(flooded))), median(ratio), target)
	}
	return nil
}

// guess starts clients that try wrong passwords; the returned function ends
// them and counts the answers.
func guess(address string) func() int64 {
	var stopped atomic.Bool
	var answers atomic.Int64
	var wg sync.WaitGroup
	for i := range flooders {
		wg.Go(func() {
			own := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}}
			client := &http.Client{Transport: &http.Transport{DialContext: own.DialContext}}
			defer client.CloseIdleConnections()
			for n := 0; !stopped.Load(); n++ {
				req, _ := http.NewRequest("GET", address, nil)
				req.SetBasicAuth("admin", fmt.Sprintf("wrong-password-%d-%d", i, n))
				if resp, err := client.Do(req); err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					answers.Add(1)
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	return func() int64 { stopped.Store(true); wg.Wait(); return answers.Load() }
}

// newcomers is how many accounts can log in for the first time, in each run.
const newcomers = 80

// logins: tokens for a password that is checked for the first time, beside
// distribution, which checks one with every request; and for a client
// certificate, beside a key over the same TLS.
func (b *bench) logins() error {
	accounts, err := b.accounts(b.runs * newcomers)
	if err != nil {
		return err
	}
	var next atomic.Int64
	first := func(int, int) error {
		n := int(next.Add(1)) - 1
		if n >= len(accounts) {
			return fmt.Errorf("there are too few accounts")
		}
		return get(b.ours.base+"/token?scope="+url.QueryEscape("repository:"+repo+":pull"), accounts[n])(0, 0)
	}
	err = b.compare(workload{name: "token for a password, the first time", workers: 1, long: time.Second, sides: []side{
		{p: b.ours, op: first},
		{p: b.distLogin, op: get(b.distLogin.base+"/v2/", b.in.login)},
	}})
	if err != nil {
		return err
	}
	return b.certificates()
}

// accounts creates people and returns what each logs in with.
func (b *bench) accounts(n int) ([]http.Header, error) {
	api, err := b.bearerFor("registry:api:*")
	if err != nil {
		return nil, err
	}
	var logins []http.Header
	for i := range n {
		name := fmt.Sprintf("person%d", i)
		body := fmt.Appendf(nil, `{"name":%q,"password":%q}`, name, adminPassword)
		r := request{method: "POST", url: b.ours.base + "/api/v1/users", header: with(api, "Content-Type", "application/json"), body: body, want: 201}
		if _, _, err := r.send(false); err != nil {
			return nil, err
		}
		logins = append(logins, basic(name, adminPassword))
	}
	return logins, nil
}

// certificates: a token for a client certificate and one for a key, on a server
// that speaks TLS.
func (b *bench) certificates() error {
	m := &machine{}
	clients := ft.NewCA(m, "clients")
	dir := filepath.Join(b.dir, "secure")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca := filepath.Join(dir, "clients.pem")
	ft.Write(m, ca, ft.PEM(clients))
	p, err := b.startOn("https", dir, fmt.Sprintf("tls: {client_authorities: [{name: bench, ca: %q, identity: spiffe}]}", ca))
	if err != nil {
		return err
	}
	defer p.stop()
	plain, certified := &http.Transport{MaxIdleConnsPerHost: 128}, &http.Transport{MaxIdleConnsPerHost: 128}
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(filepath.Join(dir, "data", "tls", "ca.pem"))
	if err != nil {
		return err
	}
	roots.AppendCertsFromPEM(pem)
	plain.TLSClientConfig = &tls.Config{RootCAs: roots}
	certified.TLSClientConfig = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{clients.Client(ft.URI("spiffe://bench.test/ci"))}}
	key, err := accessKeyOf(p, &http.Client{Transport: plain})
	if err != nil {
		return err
	}
	tokenURL := p.base + "/token?scope=" + url.QueryEscape("repository:"+repo+":pull")
	byKey := request{method: "GET", url: tokenURL, header: basic("bench", key), want: 200, by: &http.Client{Transport: plain}}
	byCertificate := request{method: "GET", url: tokenURL, want: 200, by: &http.Client{Transport: certified}}
	again := &process{name: "sallyport, by key", base: p.base, cmd: p.cmd}
	return b.compare(workload{name: "token for a client certificate", workers: 16, long: 2 * time.Second, sides: []side{
		{p: p, op: func(int, int) error { _, _, err := byCertificate.send(false); return err }},
		{p: again, op: func(int, int) error { _, _, err := byKey.send(false); return err }},
	}})
}
