package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var expirySeries = regexp.MustCompile(`(?m)^sallyport_access_key_expiry_days\{key="([a-z0-9]+)",name="(.*)",owner="(.*)"\} (\S+)$`)

// expiries scrapes the health listener and returns name → days left of the live
// keys that it shows, after what was last read is too old to be shown again.
func (m *matrix) expiries() map[string]float64 {
	m.t.Helper()
	m.pass(31 * time.Second)
	return m.expiriesNow()
}

func (m *matrix) expiriesNow() map[string]float64 {
	m.t.Helper()
	w := httptest.NewRecorder()
	m.health.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		m.t.Fatalf("%d %s", w.Code, w.Body)
	}
	if strings.Contains(w.Body.String(), "sallyport_key_") {
		m.t.Error("L-01 a metric holds the secret of a key")
	}
	out := map[string]float64{}
	for _, found := range expirySeries.FindAllStringSubmatch(w.Body.String(), -1) {
		days, err := strconv.ParseFloat(found[4], 64)
		if err != nil || found[3] != "user:admin" {
			m.t.Errorf("series %q: %v", found[0], err)
		}
		out[found[2]] = days
	}
	if lines := strings.Count(w.Body.String(), "\nsallyport_access_key_expiry_days{"); lines != len(out) {
		m.t.Errorf("%d lines, of which %d are of the form that is documented and for a key of their own", lines, len(out))
	}
	return out
}

// TestKeyExpiryMetric: each live key without a successor shows its days left, one
// that has ended is gone, and there are never more than 200 (L-10).
func TestKeyExpiryMetric(t *testing.T) {
	m := startMatrix(t)
	admin := func() { m.admin = m.login("admin", matrixPassword("admin"), allScopes).access }
	admin()
	create := func(name string, life time.Duration) string {
		out := m.api("POST", "/keys", fmt.Sprintf(`{"name":%q,"expiresIn":%d}`, name, int(life.Seconds())))
		return out["id"].(string)
	}
	expect := func(what string, got map[string]float64, want map[string]float64) {
		t.Helper()
		for name, days := range want {
			if left, ok := got[name]; !ok || left > days || left < days-0.1 {
				t.Errorf("%s: key %s has %v days left, want %v", what, name, left, days)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	day := 24 * time.Hour
	lost, kept := create("lost", 10*day), create("kept", 20*day)
	create("short", time.Hour)
	create(`a "b" \c`, 30*day)
	quoted := `a \"b\" \\c`
	expect("at first", m.expiries(), map[string]float64{"lost": 10, "kept": 20, "short": 1. / 24, quoted: 30})
	m.pass(day)
	expect("a key that has ended", m.expiries(), map[string]float64{"lost": 9, "kept": 19, quoted: 29})
	admin()
	create("ending", time.Minute)
	m.expiries()
	m.pass(29500 * time.Millisecond) // what was read is still fresh
	if _, shown := m.expiriesNow()["ending"]; shown {
		t.Error("a key is shown after its end")
	}
	m.api("DELETE", "/keys/"+lost, "")
	next := m.api("POST", "/keys/"+kept+"/rotate", `{}`)["id"].(string)
	expect("a revoked key, and a rotated one's successor", m.expiries(), map[string]float64{"kept": 20, quoted: 29})
	m.api("DELETE", "/keys/"+next, "")
	expect("a successor that was revoked", m.expiries(), map[string]float64{"kept": 1, quoted: 29})
	for i := range 210 {
		create(fmt.Sprint("key ", i), time.Duration(40+i)*day)
	}
	got := m.expiries()
	if _, late := got["key 199"]; len(got) != 200 || got["key 0"] == 0 || late {
		t.Errorf("L-10 %d series: %v", len(got), got)
	}
}
