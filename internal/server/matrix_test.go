package server_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/server"
)

var update = flag.Bool("update", false, "rewrite testdata/matrix.txt: look at every letter that changes")

const matrixFile = "testdata/matrix.txt"

const legend = `# Who may what: every route, with every kind of credential, in every role. Made by
# TestMatrix; go test ./internal/server -run Matrix -update writes it anew.
#
#   a  let in: done, or refused for another reason than who asks
#   d  denied: 403; at /token, a credential that is not accepted
#   h  hidden: answered as if it were not there
#   u  asked for (better) credentials: 401
#   .  there is no such credential, or nothing to put it in
#
`

// TestMatrix (S-36, S-37, S-38, T-14, T-15, O-19): the answers are those that
// testdata/matrix.txt holds, for every route there is.
func TestMatrix(t *testing.T) {
	m := newMatrix(t)
	m.everyRouteHasARow()
	var out strings.Builder
	out.WriteString(legend)
	for _, k := range kinds {
		fmt.Fprintf(&out, "#   %c  %s\n", k.letter, k.name)
	}
	head := new(strings.Builder)
	letters := ""
	for _, k := range kinds {
		letters += string(k.letter)
	}
	for _, role := range roles {
		fmt.Fprintf(head, " %-*s", len(letters), role)
	}
	fmt.Fprintf(&out, "#\n%-70s%s\n%-72s%s\n", "", head, "", strings.Repeat(" "+letters, len(roles)))
	for _, row := range matrixRows {
		line := new(strings.Builder)
		for _, role := range roles {
			line.WriteByte(' ')
			for _, k := range kinds {
				line.WriteByte(m.cell(row, role, k))
			}
		}
		fmt.Fprintf(&out, "%-70s%s\n", row.String(), line)
	}
	if *update {
		if err := os.WriteFile(matrixFile, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(matrixFile)
	if err != nil {
		t.Fatal(err)
	}
	want, got := strings.Split(string(golden), "\n"), strings.Split(out.String(), "\n")
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Errorf("%s:%d differs; it holds, and should hold\n%s\n%s", matrixFile, i+1, at(want, i), at(got, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

// A matrixRow is one request to one route. In target and body {n} is a number
// that no other request has, and {it} what before made.
type matrixRow struct {
	route  string // operation of the API, "end-3 GET" of /v2/, or the name of another door
	note   string // what is asked, beside the target
	method string
	target string
	body   string
	header string // "Content-Type: …" and others, separated by a line break
	slot   slot
	before func(*matrix) string
	hidden bool // to those who may not, it is not there
}

func (r matrixRow) String() string {
	text := r.method + " " + r.target
	if r.slot != inHeader {
		text += " (" + string(r.slot) + ")"
	}
	if r.note != "" {
		text += ", " + r.note
	}
	return strings.ReplaceAll(text, noDigest, "sha256:0")
}

// A slot is where a credential is put.
type slot string

const (
	inHeader  slot = ""
	asBasic   slot = "as password"
	asRefresh slot = "as refresh token"
)

// everyRouteHasARow fails for a route about which nothing is decided here.
func (m *matrix) everyRouteHasARow() {
	m.t.Helper()
	rows := map[string]bool{}
	for _, row := range matrixRows {
		rows[row.route] = true
	}
	known := slices.Concat(apiOperations(m.t), distributionEndpoints(m.t), server.DoorNames(), healthPaths(m.t))
	for _, route := range known {
		if !rows[route] && route != "admin" && route != "distribution" { // by operation and endpoint
			m.t.Errorf("route %q has no row in matrixRows", route)
		}
		delete(rows, route)
	}
	for route := range rows {
		m.t.Errorf("matrixRows has a row for %q, which is no route", route)
	}
}

// apiOperations returns the operations of the API, from its description, which
// another test holds against the code.
func apiOperations(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var description struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(text, &description); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, of := range description.Paths {
		for _, operation := range of {
			out = append(out, operation.OperationID)
		}
	}
	return out
}

// distributionEndpoints returns "end-3 GET" for each line and method of the table
// in internal/distribution.
func distributionEndpoints(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../distribution/endpoint.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := bytes.Cut(text, []byte("var endpoints ="))
	if !found {
		t.Fatal("there is no table of endpoints")
	}
	table, _, _ = bytes.Cut(table, []byte("\n}\n"))
	var out []string
	for _, line := range regexp.MustCompile(`\{"([a-z0-9 -]+)", "([A-Z ]+)", `).FindAllSubmatch(table, -1) {
		for method := range strings.FieldsSeq(string(line[2])) {
			out = append(out, string(line[1])+" "+method)
		}
	}
	if len(out) < 15 {
		t.Fatalf("the table of endpoints has only %q", out)
	}
	return out
}

// healthPaths returns "health /healthz" and what else the health listener serves.
func healthPaths(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, path := range regexp.MustCompile(`mux\.Handle(?:Func)?\("GET (/\w+)"`).FindAllSubmatch(text, -1) {
			out = append(out, "health "+string(path[1]))
		}
	}
	if len(out) < 2 {
		t.Fatalf("the health listener has only %q", out)
	}
	return out
}

// cell sends the row's request with a role's credential and says what came.
func (m *matrix) cell(row matrixRow, role string, k kind) byte {
	m.t.Helper()
	c := m.credentials[role][k.letter]
	nowhere := c == (credential{}) && !(role == "anonymous" && k.letter == '-')
	if nowhere || c.certificate != nil && row.slot != inHeader {
		return '.'
	}
	w := m.send(m.fill(row, c, role), strings.HasPrefix(row.route, "health "))
	switch code := w.Code; {
	case code == http.StatusUnauthorized:
		return 'u'
	case code == http.StatusForbidden, row.route == "token" && code == http.StatusBadRequest:
		return 'd'
	case code == http.StatusNotFound && row.hidden:
		return 'h'
	case code >= 500 || code == http.StatusTooManyRequests:
		m.t.Errorf("%s as %s with %s: %d %s", row, role, k.name, code, w.Body)
		return '!'
	}
	return 'a'
}

// fill makes the request of a row.
func (m *matrix) fill(row matrixRow, c credential, role string) *http.Request {
	m.n++
	it := ""
	if row.before != nil {
		it = row.before(m)
	}
	replace := strings.NewReplacer("{n}", fmt.Sprint(m.n), "{it}", it).Replace
	body := replace(row.body)
	if row.slot == asRefresh {
		body = "grant_type=refresh_token&refresh_token=" + c.secret
	}
	r := httptest.NewRequest(row.method, replace(row.target), strings.NewReader(body))
	for line := range strings.Lines(row.header) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		r.Header.Set(name, value)
	}
	switch {
	case c.certificate != nil:
		r.TLS = m.connection(c.certificate)
	case row.slot == asBasic && c != credential{}:
		name := role
		if !c.basic {
			name = fmt.Sprintf("any-%d", m.n) // what fails counts against no account
		}
		r.SetBasicAuth(name, c.secret)
	case row.slot == asRefresh:
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case c.basic:
		r.SetBasicAuth(role, c.secret)
	case c != credential{}:
		r.Header.Set("Authorization", "Bearer "+c.secret)
	}
	return r
}
