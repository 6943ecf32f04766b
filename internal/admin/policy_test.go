package admin_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/client"
)

func TestPolicy(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		b := f.as("admin")
		show := req{method: "GET", path: "/policy"}
		apply := func(text, base string) req {
			return req{method: "PUT", path: "/policy", body: text, contentType: "application/yaml", ifMatch: base}
		}
		w := f.want(b, 200, show)
		if w.Header().Get("ETag") != `"2"` {
			t.Errorf("ETag is %q", w.Header().Get("ETag"))
		}
		now := read[client.Policy](f, b, 200, show)
		if now.Version != 2 || now.Document != policy || now.Author != "user:admin" {
			t.Errorf("policy is %+v", now)
		}
		f.refused(b, 428, apply(policy, ""))
		for _, tag := range []string{"2", `W/"2"`, "*", `"2", "1"`, `"x"`, `"-1"`, `""`} {
			f.refused(b, 400, apply(policy, tag))
		}
		for _, tag := range []string{`"1"`, `"3"`, `"0"`} {
			f.refused(b, 412, apply(policy, tag))
		}
		f.refused(b, 415, req{method: "PUT", path: "/policy", body: policy, ifMatch: `"2"`})
		f.refused(b, 413, apply(policy+strings.Repeat("#\n", client.MaxBody), `"2"`))

		p := f.refused(b, 400, apply("version: 1\nrules:\n  - who: [bob]\n    what: [\"**\"]\n    may: [fly]\n", `"2"`))
		var at []string
		for _, e := range p.Errors {
			at = append(at, e.String())
			if e.Line == 0 || e.Field == "" {
				t.Errorf("problem without line or field: %+v", e)
			}
		}
		if len(at) != 2 || !strings.HasPrefix(at[0], "line 3: rules[0].who[0]: ") || !strings.HasPrefix(at[1], "line 5: rules[0].may[0]: ") {
			t.Errorf("problems are %q", at)
		}
		if got := read[client.Policy](f, b, 200, show); got.Version != 2 {
			t.Errorf("after refused ones the version is %d", got.Version)
		}
		next := policy + "# more\n"
		if got := read[client.Policy](f, b, 200, apply(next, `"2"`)); got.Version != 3 || got.Document != next {
			t.Errorf("applied %+v", got)
		}
		f.refused(b, 412, apply(policy, `"2"`))
	})
}

func TestPolicyVersions(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		b := f.as("admin")
		apply := func(base, reason string) req {
			return req{method: "PUT", path: "/policy?reason=" + url.QueryEscape(reason), body: policy + "# " + base + "\n", contentType: "application/yaml", ifMatch: base}
		}
		for _, reason := range []string{strings.Repeat("x", 501), "two\nlines", "\x1b[31m"} {
			f.refused(b, 400, apply(`"2"`, reason))
		}
		if got := read[client.Policy](f, b, 200, apply(`"2"`, "OPS-1 ü")); got.Reason != "OPS-1 ü" || got.Version != 3 {
			t.Errorf("applied %+v", got)
		}
		list := func(query string) client.Page[client.PolicyVersion] {
			return read[client.Page[client.PolicyVersion]](f, b, 200, req{method: "GET", path: "/policy/versions" + query})
		}
		all := list("")
		if len(all.Items) != 3 || all.Items[0].Reason != "OPS-1 ü" || all.Items[0].Author != "user:admin" || all.Next != "" {
			t.Errorf("versions %+v", all)
		}
		first := list("?n=2")
		rest := list("?n=2&after=" + first.Next)
		if len(first.Items) != 2 || first.Next != "2" || len(rest.Items) != 1 || rest.Items[0].Version != 1 || rest.Next != "" {
			t.Errorf("pages %+v, %+v", first, rest)
		}
		for _, after := range []string{"0", "-1", "02", "x"} {
			f.refused(b, 400, req{method: "GET", path: "/policy/versions?after=" + after})
		}
		if got := read[client.Policy](f, b, 200, req{method: "GET", path: "/policy/versions/2"}); got.Document != policy {
			t.Errorf("version 2 is %+v", got)
		}
		f.refused(b, 404, req{method: "GET", path: "/policy/versions/4"})
		f.refused(b, 400, req{method: "GET", path: "/policy/versions/02"})
	})
}

func TestSweeps(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		b := f.as("admin")
		if got := read[client.SweepStatus](f, b, 200, req{method: "GET", path: "/gc"}); got.Running || got.Last != nil {
			t.Errorf("before the first: %+v", got)
		}
		if got := read[client.Sweep](f, b, 200, req{method: "POST", path: "/gc", body: `{"dryRun":true}`}); !got.DryRun || got.Err != "" {
			t.Errorf("dry run: %+v", got)
		}
		if got := read[client.Sweep](f, b, 200, req{method: "POST", path: "/gc", body: `{"dryRun":false}`}); got.DryRun || got.Err != "" {
			t.Errorf("sweep: %+v", got)
		}
		if got := read[client.SweepStatus](f, b, 200, req{method: "GET", path: "/gc"}); got.Last == nil || got.Last.DryRun {
			t.Errorf("after it: %+v", got)
		}
		f.refused(b, 400, req{method: "POST", path: "/gc", body: `{"dryrun":true}`})
	})
}

// TestSecrets: whatever is sent to the API, neither its log nor its answers
// repeat a secret (L-01), but for the one answer to a new key and to a new
// code.
func TestSecrets(t *testing.T) {
	f := onSQLite(t)
	root := f.as("admin")
	_, narrowed := f.key(robot("ci"), 3600e9, nil, []string{"pull"})
	k := read[client.CreatedKey](f, root, 201, req{method: "POST", path: "/keys", body: `{"owner":"robot:ci"}`})
	for _, b := range []bearer{nobody, narrowed, f.as("alice"), root} {
		for _, rt := range admin.Routes() {
			s := samples[rt.Method+" "+rt.Pattern]
			s.method = rt.Method
			f.do(b, s.req)
			for _, text := range []string{
				`{"password":"canary 1"`, `{"password":"canary 1"}`, `{"name":"canary-ok","password":"canary 1 long"}`,
				`{"current":"canary 1","password":"canary 1 long"}`, `{"password":["canary 1"]}`, "erin:canary 1\n", `{"code":"sallyport_rst_canary 1","password":"canary 1"}`,
			} {
				s.body = text
				f.do(b, s.req)
			}
		}
	}
	canaries := []string{"canary password", "canary 1", "sallyport_idt_", "sallyport_rst_", k.Secret.Reveal(), "$argon2id$", root.access, narrowed.access}
	for _, c := range canaries {
		if strings.Contains(f.logged(), c) {
			t.Errorf("the log holds %q", c)
		}
		if strings.Contains(f.answers.String(), c) {
			t.Errorf("an answer holds %q", c)
		}
	}
	if !strings.Contains(f.logged(), "api changed something") || slices.Contains(canaries, "") {
		t.Error("nothing was logged, so nothing is proven")
	}
}

// Whoever manages a part of the policy sees and replaces that part, and nothing
// else changes, comments included (S-38).
func TestPolicyParts(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const whole = `# Ours.
version: 2
rules:
  - name: administrators # keep
    subjects: ["group:admins"]
    repositories: ["**"]
    actions: [pull, push, delete, admin]
  - name: team-a-manager
    subjects: ["user:alice"]
    repositories: ["team-a/**"]
    actions: [manage-policy]
  - name: elsewhere
    subjects: ["user:mallory"]
    repositories: ["team-b/**"]
    actions: [pull]
  - name: team-a-pull
    # they asked for it
    subjects: ["user:mallory"]
    repositories: ["team-a/app"]
    actions: [pull]
`
		put := func(text, base string) req {
			return req{method: "PUT", path: "/policy", body: text, contentType: "application/yaml", ifMatch: base}
		}
		show := req{method: "GET", path: "/policy"}
		root, alice := f.as("admin"), f.as("alice")
		f.want(root, 200, put(whole, `"2"`))
		part := read[client.Policy](f, alice, 200, show)
		for text, want := range map[string]bool{"team-a-manager": true, "team-a-pull": true, "they asked for it": true, "administrators": false, "elsewhere": false, "team-b": false} {
			if strings.Contains(part.Document, text) != want {
				t.Errorf("%q in the part of alice: %t\n%s", text, !want, part.Document)
			}
		}
		edited := strings.Replace(part.Document, "actions: [pull]", "actions: [pull, push]", 1)
		f.refused(alice, 412, put(edited, `"2"`))
		f.want(alice, 200, put(edited, `"3"`))
		if got := read[client.Policy](f, root, 200, show).Document; got != strings.Replace(whole, "repositories: [\"team-a/app\"]\n    actions: [pull]", "repositories: [\"team-a/app\"]\n    actions: [pull, push]", 1) {
			t.Errorf("the whole is now\n%s", got)
		}
		for what, text := range map[string]string{
			"a rule outside":                 edited + "  - name: more\n    subjects: [\"user:alice\"]\n    repositories: [\"team-b/**\"]\n    actions: [pull]\n",
			"a rule that reaches outside":    edited + "  - name: more\n    subjects: [\"user:alice\"]\n    repositories: [\"**\"]\n    actions: [pull]\n",
			"a right that alice has not":     strings.Replace(edited, "[manage-policy]", "[manage-policy, manage-keys]", 1),
			"a rule with an outside's name":  edited + "  - name: elsewhere\n    subjects: [\"user:alice\"]\n    repositories: [\"team-a/**\"]\n    actions: [pull]\n",
			"nothing that leaves alice here": "version: 2\nrules: []\n",
		} {
			if w := f.do(alice, put(text, `"4"`)); w.Code != 400 && w.Code != 403 {
				t.Errorf("%s: %d %s", what, w.Code, w.Body)
			}
		}
		f.refused(f.as("mallory"), 403, show)
		f.refused(alice, 403, req{method: "GET", path: "/policy/versions/1"})
		f.want(alice, 200, req{method: "POST", path: "/explain", body: `{"principal":"user:mallory","action":"pull","repository":"team-a/app"}`})
		f.refused(alice, 403, req{method: "POST", path: "/explain", body: `{"principal":"user:mallory","action":"pull","repository":"team-b/app"}`})
	})
}
