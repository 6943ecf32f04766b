package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// TestKillAudit kills the server with SIGKILL under changes and pulls. The record
// stays whole, each change that was acknowledged has its event, none has two, and
// what changed is what the events say: also where nobody got an answer.
func TestKillAudit(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { killAudit(t, "", 25) })
	t.Run("postgres", func(t *testing.T) { killAudit(t, metadatatest.Postgres(t), 8) })
}

func killAudit(t *testing.T, database string, rounds int) {
	const seed = 20261125
	random := rand.New(rand.NewPCG(seed, 0))
	s := newServer(t, serverOptions{Database: database})
	s.Login()
	// Tokens live longer than the server.
	l := &changer{pusher: pusher{Base: "https://" + s.Host, Client: s.HTTP(), User: "admin", Password: adminPassword}, acked: map[string]string{}}
	for round := range rounds {
		stop := time.Duration(50+random.IntN(300)) * time.Millisecond
		done := make(chan struct{})
		var all sync.WaitGroup
		for who := range 4 {
			all.Go(func() { l.change(done, fmt.Sprintf("r%d-%d", round, who)) })
		}
		time.Sleep(stop)
		s.Kill()
		close(done)
		all.Wait()
		l.Client.CloseIdleConnections()
		if err := s.TryStart(); err != nil {
			t.Fatalf("round %d (seed %d): start after kill -9: %v", round, seed, err)
		}
		s.CLI("", "audit", "verify")
	}
	var events []ledger.Event
	for line := range strings.Lines(s.CLI("", "audit", "-n", "0", "-o", "json")) {
		sealed, err := ledger.ParseLine([]byte(strings.TrimSuffix(line, "\n")))
		must(t, err)
		events = append(events, sealed.Event)
	}
	l.compare(t, events)
	sameRobots(t, s, events)
	l.sameTags(t, events)
	starts := 0
	for _, e := range events {
		if e.Kind == ledger.Audit && e.Action == "start" {
			starts++
		}
	}
	if starts != rounds+1 {
		t.Errorf("%d starts on record, want %d", starts, rounds+1)
	}
	t.Logf("%d kills, %d acknowledged changes and %d pulls, %d events", rounds, len(l.acked), l.pulls, len(events))
	if len(l.acked) < rounds*4 {
		t.Errorf("only %d changes in %d rounds: the load is too light to prove anything", len(l.acked), rounds)
	}
}

// A changer changes things and remembers which changes were acknowledged.
type changer struct {
	pusher
	mu    sync.Mutex
	acked map[string]string // id of the request → "kind action"
	pulls int
	api   string
}

// change makes changes of each kind, and pulls, until the server is gone.
func (c *changer) change(done chan struct{}, name string) {
	const repo = "kill/audit"
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		default:
		}
		tag := fmt.Sprintf("%s-%d", name, n)
		manifest := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","manifests":[],"annotations":{"n":%q}}`, indexType, tag))
		path := "/v2/" + repo + "/manifests/" + tag
		if !c.ask("PUT", path, manifest, "push create-tag") || !c.ask("GET", path, nil, "") ||
			!c.robot("robot-"+tag) || n%2 == 0 && !c.ask("DELETE", path, nil, "delete delete-tag") {
			return
		}
	}
}

// ask sends a request about the repository, and notes the change.
func (c *changer) ask(method, path string, body []byte, change string) bool {
	status, h, _, err := c.do(method, "kill/audit", path, http.Header{"Content-Type": {indexType}}, body)
	return c.note(status, h, err, change)
}

func (c *changer) note(status int, h http.Header, err error, change string) bool {
	if err != nil || status >= 300 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if change == "" {
		c.pulls++
	} else {
		c.acked[h.Get("X-Request-Id")] = change
	}
	return true
}

// robot adds a robot.
func (c *changer) robot(name string) bool {
	token, err := c.apiToken()
	if err != nil {
		return false
	}
	req, err := http.NewRequest("POST", c.Base+"/api/v1/robots", strings.NewReader(fmt.Sprintf(`{"name":%q}`, name)))
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return c.note(resp.StatusCode, resp.Header, err, "account add")
}

func (c *changer) apiToken() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.api != "" {
		return c.api, nil
	}
	req, err := http.NewRequest("GET", c.Base+"/token?scope="+url.QueryEscape("registry:api:*"), nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(c.User, c.Password)
	resp, err := c.Client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	err = json.NewDecoder(resp.Body).Decode(&answer)
	c.api = answer.Token
	return c.api, err
}

// compare holds what was acknowledged against the events.
func (c *changer) compare(t *testing.T, events []ledger.Event) {
	t.Helper()
	of, pulls := map[string][]ledger.Event{}, 0
	for _, e := range events {
		if e.RequestID != "" {
			of[e.RequestID] = append(of[e.RequestID], e)
		}
		if e.Kind == ledger.Pull {
			pulls++
		}
	}
	for id, all := range of {
		if len(all) != 1 {
			t.Errorf("request %s has %d events: %+v", id, len(all), all)
		}
	}
	for id, change := range c.acked {
		if len(of[id]) == 0 {
			t.Errorf("%s was acknowledged (request %s) and has no event", change, id)
		} else if e := of[id][0]; string(e.Kind)+" "+e.Action != change || e.Decision != ledger.Allowed {
			t.Errorf("%s was acknowledged (request %s), and its event is %+v", change, id, e)
		}
	}
	if pulls == 0 {
		t.Error("no pull is on record")
	}
}

// sameRobots: there are those robots whose addition is on record.
func sameRobots(t *testing.T, s *server, events []ledger.Event) {
	t.Helper()
	var list []struct{ Name string }
	must(t, json.Unmarshal([]byte(s.CLI("", "robot", "list", "-o", "json")), &list))
	var are, told []string
	for _, r := range list {
		are = append(are, "robot:"+r.Name)
	}
	for _, e := range events {
		if e.Kind == ledger.Account && e.Action == "add" {
			told = append(told, e.Object)
		}
	}
	slices.Sort(are)
	slices.Sort(told)
	if !slices.Equal(are, told) {
		t.Errorf("%d robots are there, and %d additions on record", len(are), len(told))
	}
}

// sameTags: there are those tags that events made and did not delete.
func (c *changer) sameTags(t *testing.T, events []ledger.Event) {
	t.Helper()
	told := map[string]bool{}
	for _, e := range events {
		switch e.Action {
		case "create-tag":
			told[e.Tag] = true
		case "delete-tag":
			delete(told, e.Tag)
		}
	}
	for last := ""; ; {
		status, _, body, err := c.do("GET", "kill/audit", "/v2/kill/audit/tags/list?last="+last, nil, nil)
		must(t, err)
		var list struct{ Tags []string }
		must(t, json.Unmarshal(body, &list))
		if status != http.StatusOK {
			t.Fatalf("status %d: %s", status, body)
		}
		if len(list.Tags) == 0 {
			break
		}
		for _, tag := range list.Tags {
			if !told[tag] {
				t.Errorf("the tag %s is there, and its making is not on record", tag)
			}
			delete(told, tag)
			last = tag
		}
	}
	if len(told) > 0 {
		t.Errorf("%d tags were made, by the record, and are not there", len(told))
	}
}
