package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	allIssuers = 1000 // as many as may be trusted
	// Who presents tokens of an issuer in trouble gives up after so long, and tries
	// again after a pause, as a job does.
	givesUp = time.Second
	pause   = 100 * time.Millisecond
)

// outside is a server that trusts issuers, and what logs in to it.
type outside struct {
	*process
	idp           *idp
	hanging, down []string // hosts of issuers that do not answer, one for each measurement
	listeners     []net.Listener
}

// federation: tokens for the token of a trusted issuer, with one that is trusted
// and with 1,000, and how others fare while an issuer is in trouble.
func (b *bench) federation() error {
	i, err := newIDP()
	if err != nil {
		return err
	}
	defer i.Close()
	one, many := &outside{idp: i}, &outside{idp: i}
	defer func() {
		for _, l := range many.listeners {
			l.Close()
		}
	}()
	text := i.definition()
	if err := b.trust(one, "one", text); err != nil {
		return err
	}
	defer one.stop()
	more, err := many.troubled(4 * b.runs)
	if err != nil {
		return err
	}
	for n := 1 + len(many.hanging) + len(many.down); n < allIssuers; n++ {
		more += definition(fmt.Sprint("idp-", n), fmt.Sprintf("idp-%d.bench.test", n), "")
	}
	if err := b.trust(many, "many", text+more); err != nil {
		return err
	}
	defer many.stop()
	for _, o := range []*outside{one, many} {
		if err := o.check(); err != nil {
			return err
		}
	}
	if err := b.exchanges(one, many); err != nil {
		return err
	}
	return b.trouble(many)
}

// troubled makes as many issuers that hang, and that are down, as are measured:
// what is known of one's trouble is kept for a while.
func (o *outside) troubled(n int) (definitions string, err error) {
	for i := range n {
		l, err := hang(fmt.Sprintf("127.1.0.%d:0", i+1))
		if err != nil {
			return "", err
		}
		o.listeners = append(o.listeners, l)
		o.hanging = append(o.hanging, l.Addr().String())
		o.down = append(o.down, fmt.Sprintf("127.2.0.%d:1", i+1))
		definitions += definition(fmt.Sprint("hanging-", i), o.hanging[i], "") + definition(fmt.Sprint("down-", i), o.down[i], "")
	}
	return definitions, nil
}

// trust starts a server that trusts issuers, whose jobs may pull.
func (b *bench) trust(o *outside, name, issuers string) error {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, "issuers.yaml")
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n" + issuers
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	var err error
	if o.process, err = b.startOurs(dir, fmt.Sprintf("federation: {issuers_file: %q}", file)); err != nil {
		return err
	}
	token, err := tokenOf(o.process, adminPassword, "registry:api:*")
	if err != nil {
		return err
	}
	address, api := o.base+"/api/v1/policy", bearer(token)
	show := request{method: "GET", url: address, header: api, want: 200}
	h, _, err := show.send(false)
	if err != nil {
		return err
	}
	policy := fmt.Appendf(nil, `version: 2
rules:
  - {name: administrators, subjects: ["group:admins"], repositories: ["**"], actions: [pull, push, delete, admin]}
  - {name: jobs, subjects: [{issuer: %q, claims: {repository_id: "74"}}], repositories: ["bench/**"], actions: [pull]}
`, o.idp.issuer())
	api = with(with(api, "If-Match", h.Get("ETag")), "Content-Type", "application/yaml")
	apply := request{method: "PUT", url: address, header: api, body: policy, want: 200}
	_, _, err = apply.send(false)
	return err
}

// check sees that the policy gives a job something: it learns that there is
// nothing to pull.
func (o *outside) check() error {
	token, err := o.fresh(o.idp.es)()
	if err != nil {
		return err
	}
	var answer struct{ Token string }
	ask := request{method: "GET", url: o.base + "/token?scope=" + url.QueryEscape("repository:"+repo+":pull"), header: basic("github", token), want: 200}
	if err := ask.decode(&answer); err != nil {
		return err
	}
	pull := request{method: "GET", url: o.base + "/v2/" + repo + "/manifests/none", header: bearer(answer.Token), want: 404}
	_, _, err = pull.send(false)
	return err
}

// exchange returns an operation that exchanges what token returns (RFC 8693).
func (o *outside) exchange(token func() (string, error)) func(int, int) error {
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
		"scope": {"repository:" + repo + ":pull"},
	}.Encode()
	return func(int, int) error {
		text, err := token()
		if err != nil {
			return err
		}
		r := request{method: "POST", url: o.base + "/token", header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			body: []byte(form + "&subject_token=" + text), want: 200}
		_, _, err = r.send(false)
		return err
	}
}

// fresh makes a token of the healthy issuer that nobody has seen.
func (o *outside) fresh(by jose.Signer) func() (string, error) {
	return func() (string, error) { return tokenAs(o.idp.issuer(), by) }
}

// exchanges: beside the floor of tokens for an identity token. What signs new
// tokens runs on this machine too: of these, only the CPU is the server's.
func (b *bench) exchanges(one, many *outside) error {
	same, err := tokenAs(one.idp.issuer(), one.idp.rs)
	if err != nil {
		return err
	}
	again := func() (string, error) { return same, nil }
	least := request{method: "POST", url: b.floor.base + "/token", header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body: []byte("refresh_token=secret"), want: 200}
	floor := side{p: b.floor, op: func(int, int) error { _, _, err := least.send(false); return err }, target: 8}
	password := get(one.base+"/token?scope="+url.QueryEscape("repository:"+repo+":pull"), basic("github", same))
	thousand := &process{name: "sallyport, 1,000 issuers", base: many.base, cmd: many.cmd}
	single := side{p: &process{name: "sallyport, 1 issuer", base: one.base, cmd: one.cmd}, op: one.exchange(one.fresh(one.idp.es))}
	for _, w := range []workload{
		{name: "exchange of new outside tokens, RS256", sides: []side{{p: one.process, op: one.exchange(one.fresh(one.idp.rs))}, floor}},
		{name: "exchange of new outside tokens, ES256", sides: []side{{p: one.process, op: one.exchange(one.fresh(one.idp.es))}, floor}},
		{name: "exchange of the same outside token", sides: []side{{p: one.process, op: one.exchange(again)}, floor}},
		{name: "the same outside token as the password", sides: []side{{p: one.process, op: password}, floor}},
		{name: "exchange of new outside tokens, ES256, by the number of issuers", sides: []side{{p: thousand, op: many.exchange(many.fresh(many.idp.es))}, single}},
	} {
		w.workers, w.long = 16, 2*time.Second
		if err := b.compare(w); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// trouble: while many present tokens of an issuer that does not answer, or is
// down, others log in as before.
func (b *bench) trouble(o *outside) error {
	key, err := accessKeyOf(o.process, client)
	if err != nil {
		return err
	}
	var login struct {
		RefreshToken string `json:"refresh_token"`
	}
	ask := request{method: "GET", url: o.base + "/token?offline_token=true&client_id=bench", header: b.login(), want: 200}
	if err := ask.decode(&login); err != nil {
		return err
	}
	same, err := tokenAs(o.idp.issuer(), o.idp.rs)
	if err != nil {
		return err
	}
	tokenURL := o.base + "/token?scope=" + url.QueryEscape("repository:"+repo+":pull")
	fmt.Printf("\ntokens of an issuer in trouble from %d clients, which wait %s and pause %s (4 valid clients)\n  %-28s %10s %10s %8s %10s %8s\n",
		flooders, givesUp, pause, "p99", "quiet", "it hangs", "ratio", "it is down", "ratio")
	for k, kind := range []struct {
		name string
		op   func(int, int) error
	}{
		{"login by key", get(tokenURL, basic("bench", key))},
		{"login by identity token", get(tokenURL, basic("bench", login.RefreshToken))},
		{"exchange of the same token", o.exchange(func() (string, error) { return same, nil })},
		{"exchange of new tokens", o.exchange(o.fresh(o.idp.es))},
	} {
		var p99, ratio [3][]float64
		for run := range b.runs {
			n := k*b.runs + run
			for i, host := range []string{"", o.hanging[n], o.down[n]} {
				r, err := o.beside(host, kind.op)
				if err != nil {
					return fmt.Errorf("%s: %w", kind.name, err)
				}
				p99[i] = append(p99[i], float64(r.p99))
				ratio[i] = append(ratio[i], float64(r.p99)/p99[0][run])
			}
		}
		fmt.Printf("  %-28s %10s %10s %8.2f %10s %8.2f\n", kind.name, short(time.Duration(median(p99[0]))),
			short(time.Duration(median(p99[1]))), median(ratio[1]), short(time.Duration(median(p99[2]))), median(ratio[2]))
	}
	return nil
}

// beside measures op while many present tokens of the issuer on a host, "" for
// nobody.
func (o *outside) beside(host string, op func(int, int) error) (result, error) {
	if host == "" {
		return measure(o.process, 4, 1500*time.Millisecond, op)
	}
	token, err := tokenAs("https://"+host+issuerPath, o.idp.es)
	if err != nil {
		return result{}, err
	}
	stop := o.present(token)
	r, err := measure(o.process, 4, 1500*time.Millisecond, op)
	if presented, other := stop(); err == nil && (presented == 0 || len(other) > 0) {
		err = fmt.Errorf("%d presented a token of %s; answers: %v", presented, host, other)
	}
	return r, err
}

// present starts clients that present a token which cannot be verified now; the
// returned function ends them, counts their requests and tells the answers that
// do not say so.
func (o *outside) present(token string) func() (int64, []int) {
	ctx, cancel := context.WithCancel(context.Background())
	var presented atomic.Int64
	var mu sync.Mutex
	var other []int
	var wg sync.WaitGroup
	for i := range flooders {
		wg.Go(func() {
			own := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}}
			by := &http.Client{Transport: &http.Transport{DialContext: own.DialContext}, Timeout: givesUp}
			defer by.CloseIdleConnections()
			for ctx.Err() == nil {
				req, _ := http.NewRequestWithContext(ctx, "GET", o.base+"/token?scope="+url.QueryEscape("repository:"+repo+":pull"), nil)
				req.SetBasicAuth("github", token)
				presented.Add(1)
				if resp, err := by.Do(req); err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					mu.Lock()
					if s := resp.StatusCode; s != http.StatusServiceUnavailable && s != http.StatusTooManyRequests && !slices.Contains(other, s) {
						other = append(other, s)
					}
					mu.Unlock()
				}
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	return func() (int64, []int) { cancel(); wg.Wait(); return presented.Load(), other }
}
