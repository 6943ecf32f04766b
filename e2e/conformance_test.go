package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

// The official conformance program says what it thinks in results.yaml, and
// exits 0 also when it could not load its configuration. So its results are
// read: they must be new, every API and every kind of data must have been on,
// and nothing may have failed or been skipped.
var conformanceSwitches = map[string]string{
	"OCI_API_PING": "true", "OCI_API_PULL": "true", "OCI_API_PUSH": "true", "OCI_API_REFERRER": "true",
	"OCI_API_BLOBS_ATOMIC": "true", "OCI_API_BLOBS_DELETE": "true", "OCI_API_BLOBS_MOUNT_ANONYMOUS": "true",
	"OCI_API_BLOBS_DIGEST_HEADER": "true", "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
	"OCI_API_MANIFESTS_ATOMIC": "true", "OCI_API_MANIFESTS_DELETE": "true",
	"OCI_API_MANIFESTS_DIGEST_HEADER": "true", "OCI_API_MANIFESTS_TAG_PARAM": "true",
	"OCI_API_TAGS_ATOMIC": "true", "OCI_API_TAGS_DELETE": "true", "OCI_API_TAGS_LIST": "true",
}

// TestConformance runs the official program as an account that has grants on
// its two repositories and nothing else.
func TestConformance(t *testing.T) {
	for _, version := range []string{"1.1", "dev"} {
		t.Run("sqlite/"+version, func(t *testing.T) { conform(t, version, "") })
		t.Run("postgres/"+version, func(t *testing.T) { conform(t, version, metadatatest.EmptyPostgres(t)) })
	}
}

func conform(t *testing.T, version, database string) {
	s := newServer(t, serverOptions{Database: database})
	s.Login()
	password := s.AddUser("conformer")
	s.Policy("  - who: [\"user:conformer\"]\n    what: [conformance/repo1, conformance/repo2]\n    may: [pull, push, delete]\n")

	results, err := filepath.Abs(filepath.Join("..", "artifacts", "conformance", strings.ReplaceAll(t.Name(), "/", "-")))
	must(t, err)
	must(t, os.RemoveAll(results))
	must(t, os.MkdirAll(results, 0o755))
	began := time.Now()
	r := run{Dir: t.TempDir(), Env: []string{
		"OCI_REGISTRY=" + s.Host, "OCI_TLS=enabled", "SSL_CERT_FILE=" + s.CA,
		"OCI_REPO1=conformance/repo1", "OCI_REPO2=conformance/repo2",
		"OCI_USERNAME=conformer", "OCI_PASSWORD=" + password,
		"OCI_VERSION=" + version, "OCI_RESULTS_DIR=" + results,
	}}
	if version == "dev" {
		for k, v := range conformanceSwitches {
			r.Env = append(r.Env, k+"="+v)
		}
	}
	stdout, stderr, err := r.try(t, tool(t, "conformance"))
	if err != nil {
		t.Errorf("the program failed: %v\n%.4000s\n%.4000s", err, stdout, stderr)
	}
	file := filepath.Join(results, "results.yaml")
	info, err := os.Stat(file)
	if err != nil || info.ModTime().Before(began.Add(-time.Second)) {
		t.Fatalf("results.yaml is missing or stale: %v\n%s%s", err, stdout, stderr)
	}
	text, err := os.ReadFile(file)
	must(t, err)
	judge(t, string(text), version)
	junit, err := os.ReadFile(filepath.Join(results, "junit.xml"))
	must(t, err)
	tally(t, string(junit), version)
}

// Sparse manifests are those with missing content: we refuse them on purpose,
// and the program leaves them off unless told otherwise. The rest of the list
// is new on the specification's main branch and off at 1.1.
var mayBeDisabled = map[string][]string{
	"dev": {"Sparse Manifests"},
	"1.1": {"Sparse Manifests", "Blob push", "Blob upload cancel", "Manifest put with tag params", "Tag Param", "Tag Param sha512"},
}

// judge reads a results.yaml: every line of its sections "apis" and "data"
// must say Pass, and the tests must add up.
func judge(t *testing.T, text, version string) {
	t.Helper()
	_, outcomes, found := strings.Cut(text, "\napis:\n")
	if !found {
		t.Fatalf("results.yaml has no outcomes:\n%s", text)
	}
	passed := 0
	for line := range strings.Lines(outcomes) {
		name, status, ok := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case !ok:
		case status == "Pass":
			passed++
		case status == "Disabled" && slices.Contains(mayBeDisabled[version], name):
		default:
			t.Errorf("%s: %s", name, status)
		}
	}
	if passed < 45 {
		t.Errorf("only %d outcomes passed: was an API or a kind of data off?", passed)
	}
}

var junitTotals = regexp.MustCompile(`<testsuites time="[^"]*" tests="(\d+)"([^>]*)>`)

// tally reads the totals of junit.xml, which leaves out counts of none.
func tally(t *testing.T, text, version string) {
	t.Helper()
	m := junitTotals.FindStringSubmatch(text)
	if m == nil {
		t.Fatal("junit.xml has no totals")
	}
	t.Logf("conformance %s: %s tests, beside passes:%s", version, m[1], m[2])
	if strings.Contains(m[2], "failures") || strings.Contains(m[2], "skipped") || strings.Contains(m[2], "errors") {
		t.Errorf("want no failure and no skip:%s", m[2])
		for _, c := range regexp.MustCompile(`(?s)<testcase name="([^"]*)"[^>]*>\s*<(failure|skipped)`).FindAllStringSubmatch(text, 40) {
			t.Errorf("%s: %s", c[2], c[1])
		}
	}
}
