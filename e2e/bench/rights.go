package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// decisions: what one decision costs, by the number of rules, on one core.
func (b *bench) decisions() error {
	fmt.Printf("\ndecisions on one core, by the number of rules\n  %-54s %12s %12s\n", "", "per second", "each")
	for _, shape := range []struct {
		name string
		rule func(i int) string
	}{
		{"all for the caller's group, on other patterns", func(i int) string {
			return fmt.Sprintf(`{name: r%d, subjects: ["group:dev"], repositories: ["team-%d/**"], actions: [pull, push]}`, i, i)
		}},
		{"each for somebody else", func(i int) string {
			return fmt.Sprintf(`{name: r%d, subjects: ["user:u%d"], repositories: ["team/**"], actions: [pull, push]}`, i, i)
		}},
	} {
		for _, n := range []int{10, 1_000, 10_000} {
			var doc strings.Builder
			doc.WriteString("version: 2\nrules:\n")
			for i := range n {
				doc.WriteString("  - " + shape.rule(i) + "\n")
			}
			policy, err := access.ParsePolicy([]byte(doc.String()))
			if err != nil {
				return err
			}
			each := decide(policy, n)
			fmt.Printf("  %-54s %12.0f %12s%s\n", fmt.Sprintf("%d, %s", n, shape.name), float64(time.Second)/float64(each), each, bound(each, 20*time.Microsecond))
		}
	}
	return nil
}

// decide returns the time that one decision takes, half of them denials.
func decide(policy *access.Policy, n int) time.Duration {
	principal := access.Principal{ID: access.ID{Name: "u0"}, Kind: access.User, UID: "uid", Groups: []string{"dev"}}
	names := []string{fmt.Sprintf("team-%d/app", n/2), "elsewhere/app"}
	const batch = 1000
	count, began := 0, time.Now()
	for time.Since(began) < time.Second {
		for i := range batch {
			policy.Decide(access.Query{Principal: principal, Action: access.Pull, Name: names[i%2]})
		}
		count += batch
	}
	return time.Since(began) / time.Duration(count)
}

func bound(d, most time.Duration) string {
	word := "MISSED"
	if d <= most {
		word = "met"
	}
	return fmt.Sprintf("  [target <= %s: %s]", short(most), word)
}

// A machine is what metadatatest wants of a test.
type machine struct {
	testing.TB
	cleanups []func()
}

func (m *machine) Helper()                       {}
func (m *machine) Cleanup(f func())              { m.cleanups = append(m.cleanups, f) }
func (m *machine) Fatal(a ...any)                { panic(fmt.Sprint(a...)) }
func (m *machine) Error(a ...any)                { panic(fmt.Sprint(a...)) }
func (m *machine) Skipf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

const revocations = 200

// revoke: the time from the answer to a revocation until a token that the key
// proved is refused, on SQLite's one process, and on the last of three that
// share a PostgreSQL.
func (b *bench) revoke() error {
	fmt.Printf("\nfrom the revocation of a key to the refusal of its token, %d times\n  %-40s %10s %10s\n", revocations, "", "median", "worst")
	if err := b.revokeOn("1 process, SQLite", []*process{b.ours}); err != nil {
		return err
	}
	pg := &machine{}
	database := metadatatest.Postgres(pg)
	defer func() {
		for _, f := range slices.Backward(pg.cleanups) {
			f()
		}
	}()
	var three []*process
	defer func() {
		for _, p := range three {
			p.stop()
		}
	}()
	shared, err := freeAddress()
	if err != nil {
		return err
	}
	kek := filepath.Join(b.dir, "shared0", "data", "keys", "signing.kek")
	for i := range 3 {
		// The same name for clients and the same keys, so that each takes the others' tokens.
		lines := []string{"database: " + database, "external_url: http://" + shared, "service: bench"}
		if i > 0 {
			lines = append(lines, "signing: {kek_file: "+kek+"}")
		}
		p, err := b.startOurs(filepath.Join(b.dir, fmt.Sprint("shared", i)), lines...)
		if err != nil {
			return err
		}
		three = append(three, p)
	}
	return b.revokeOn("the last of 3 processes, PostgreSQL", three)
}

func (b *bench) revokeOn(name string, on []*process) error {
	var took []time.Duration
	for range revocations {
		d, err := b.revokeOnce(on)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	worst := slices.Max(took)
	fmt.Printf("  %-40s %10s %10s%s\n", name, short(median(took)), short(worst), bound(worst, time.Second))
	return nil
}

// revokeOnce makes a key and a token, uses it everywhere, revokes the key and
// asks until everybody refuses.
func (b *bench) revokeOnce(on []*process) (time.Duration, error) {
	first := on[0]
	api, err := tokenOf(first, adminPassword, "registry:api:*")
	if err != nil {
		return 0, err
	}
	r := request{method: "POST", url: first.base + "/api/v1/keys", header: with(bearer(api), "Content-Type", "application/json"), body: []byte(`{}`), want: 201}
	_, body, err := r.send(true)
	if err != nil {
		return 0, err
	}
	var key struct{ ID, Secret string }
	if err := json.Unmarshal(body, &key); err != nil {
		return 0, err
	}
	token, err := tokenOf(first, key.Secret, "repository:"+repo+":pull")
	if err != nil {
		return 0, err
	}
	for _, p := range on {
		if err := get(p.base+"/v2/", bearer(token))(0, 0); err != nil {
			return 0, err
		}
	}
	revoke := request{method: "DELETE", url: first.base + "/api/v1/keys/" + key.ID, header: bearer(api), want: 204}
	if _, _, err := revoke.send(false); err != nil {
		return 0, err
	}
	began := time.Now()
	for _, p := range on {
		if err := refused(p, token); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// refused asks p until it refuses token.
func refused(p *process, token string) error {
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		req, err := http.NewRequest("GET", p.base+"/v2/", nil)
		if err != nil {
			return err
		}
		req.Header = bearer(token)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusUnauthorized {
			return nil
		}
	}
	return fmt.Errorf("%s takes a token of a revoked key after 10 s", p.base)
}

// tokenOf returns an access token of p for the administrator.
func tokenOf(p *process, secret, scope string) (string, error) {
	r := request{method: "GET", url: p.base + "/token?scope=" + url.QueryEscape(scope), header: basic("admin", secret), want: 200}
	_, body, err := r.send(true)
	if err != nil {
		return "", err
	}
	var answer struct{ Token string }
	err = json.Unmarshal(body, &answer)
	return answer.Token, err
}
