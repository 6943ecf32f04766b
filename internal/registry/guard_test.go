package registry_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

const (
	app    oci.RepoName = "team-a/app"
	secret oci.RepoName = "team-b/secret"
	absent oci.RepoName = "team-b/absent"
)

var nobody = oci.FromBytes([]byte("no blob has these bytes"))

// authority returns that of a user under a policy with these rules, with a live
// token that holds scopes, each "type:name:action,action".
func authority(t testing.TB, name, rules string, scopes ...string) access.Authority {
	t.Helper()
	policy, err := access.ParsePolicy([]byte("version: 1\nrules: " + rules))
	if err != nil {
		t.Fatal(err)
	}
	au := access.Authority{Policy: policy, Token: access.TokenFacts{ID: "jti-" + name, Issued: time.Now(), Expires: time.Now().Add(5 * time.Minute)}}
	if name != "" {
		au.Identity.Principal = access.Principal{ID: access.ID{Name: name}, Kind: access.User, UID: "uid-" + name}
	}
	for _, s := range scopes {
		part := strings.Split(s, ":")
		au.Held.Add(access.Resource{Type: part[0], Name: part[1]}, strings.Split(part[2], ",")...)
	}
	return au
}

// drain returns the error that ends seq.
func drain[T any](seq iter.Seq2[T, error]) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

// A row says what a method of Registry must ask of the authority, for one who
// calls it on app.
type row struct {
	must  access.Action // on app; "" for the catalog
	grace bool          // a push that outlives its token may call it
	ends  bool          // a denial looks for the caller's upload, to end it
	call  func(context.Context, registry.Registry) error
}

var someUpload = registry.Upload{ID: "0123456789abcdef0123456789abcdef01234567"}

var rows = map[string]row{
	"Manifest": {access.Pull, true, false, func(ctx context.Context, r registry.Registry) error {
		_, err := r.Manifest(ctx, app, oci.ByTag("v1"))
		return err
	}},
	"StatBlob": {access.Pull, true, false, func(ctx context.Context, r registry.Registry) error {
		_, err := r.StatBlob(ctx, app, nobody)
		return err
	}},
	"OpenBlob": {access.Pull, true, false, func(ctx context.Context, r registry.Registry) error {
		_, err := r.OpenBlob(ctx, app, nobody)
		return err
	}},
	"StartUpload": {access.Push, true, false, func(ctx context.Context, r registry.Registry) error {
		_, err := r.StartUpload(ctx, app, registry.Upload{})
		return err
	}},
	"UploadSize": {access.Push, true, true, func(ctx context.Context, r registry.Registry) error {
		_, err := r.UploadSize(ctx, app, someUpload)
		return err
	}},
	"AppendUpload": {access.Push, true, true, func(ctx context.Context, r registry.Registry) error {
		_, err := r.AppendUpload(ctx, app, someUpload, registry.Chunk{Body: bytes.NewReader(nil)})
		return err
	}},
	"FinishUpload": {access.Push, true, true, func(ctx context.Context, r registry.Registry) error {
		_, err := r.FinishUpload(ctx, app, someUpload, nobody)
		return err
	}},
	"CancelUpload": {access.Push, true, true, func(ctx context.Context, r registry.Registry) error {
		return r.CancelUpload(ctx, app, someUpload)
	}},
	"BeganPush": {access.Push, true, false, func(ctx context.Context, r registry.Registry) error {
		_, err := r.BeganPush(ctx, app, registry.PushToken{ID: "another's", Expires: time.Now()})
		return err
	}},
	"MountBlob": {access.Push, true, false, func(ctx context.Context, r registry.Registry) error {
		_, err := r.MountBlob(ctx, app, registry.BlobAt{Digest: nobody})
		return err
	}},
	"PutManifest": {access.Push, true, false, func(ctx context.Context, r registry.Registry) error {
		_, err := r.PutManifest(ctx, app, oci.RawManifest{Digest: nobody}, nil)
		return err
	}},
	"Repositories": {"", false, false, func(ctx context.Context, r registry.Registry) error {
		return drain(r.Repositories(ctx, "", ""))
	}},
	"Tags": {access.Pull, false, false, func(ctx context.Context, r registry.Registry) error {
		return drain(r.Tags(ctx, app, ""))
	}},
	"Referrers": {access.Pull, false, false, func(ctx context.Context, r registry.Registry) error {
		return drain(r.Referrers(ctx, app, nobody, ""))
	}},
	"Holders": {"", false, false, func(ctx context.Context, r registry.Registry) error {
		return drain(r.Holders(ctx, nobody))
	}},
	"DeleteTag": {access.Delete, false, false, func(ctx context.Context, r registry.Registry) error {
		return r.DeleteTag(ctx, app, "v1", nil)
	}},
	"DeleteManifest": {access.Delete, false, false, func(ctx context.Context, r registry.Registry) error {
		return r.DeleteManifest(ctx, app, nobody, nil)
	}},
	"DeleteBlob": {access.Delete, false, false, func(ctx context.Context, r registry.Registry) error {
		return r.DeleteBlob(ctx, app, nobody)
	}},
}

func TestEveryMethodHasARow(t *testing.T) {
	methods := reflect.TypeFor[registry.Registry]()
	for m := range methods.Methods() {
		if _, found := rows[m.Name]; !found {
			t.Errorf("Registry.%s: say in rows what it must check", m.Name)
		}
	}
	for name := range rows {
		if _, found := methods.MethodByName(name); !found {
			t.Errorf("row %s is no method of Registry", name)
		}
	}
}

// refusal returns "denied", "scope", "token" or "" for any other answer.
func refusal(err error) string {
	if _, ok := errors.AsType[*access.Denied](err); ok {
		return "denied"
	}
	if _, ok := errors.AsType[*access.InsufficientScope](err); ok {
		return "scope"
	}
	if errors.Is(err, access.ErrInvalidToken) {
		return "token"
	}
	return ""
}

var subsets = []string{"", "pull", "push", "delete", "pull,push", "pull,delete", "push,delete", "pull,push,delete"}

// TestGuardAsksFirst calls every method under every policy and every token, and
// counts what was asked of the database before a refusal: nothing, or after it
// for the upload that it ends.
func TestGuardAsksFirst(t *testing.T) {
	h := newHouse(t)
	for name, row := range rows {
		for _, policy := range subsets {
			for _, token := range subsets {
				au := authority(t, "alice", rule("user:alice", app, policy), scope(app, token)...)
				want := ""
				switch a := string(row.must); {
				case a == "":
					want = "scope" // no token here holds the catalog
				case !strings.Contains(policy, a):
					want = "denied"
				case !strings.Contains(token, a):
					want = "scope"
				}
				before := h.db.Queries()
				err := row.call(t.Context(), registry.Guard(h, au))
				if got := refusal(err); got != want {
					t.Fatalf("%s with policy [%s] and token [%s]: %v, want %q", name, policy, token, err, want)
				}
				allowed := int64(0)
				if row.ends && want == "denied" {
					allowed = 1
				}
				if asked := h.db.Queries() - before; want != "" && asked != allowed {
					t.Fatalf("%s with policy [%s] and token [%s]: %d queries before it was refused", name, policy, token, asked)
				}
				if lacks, ok := errors.AsType[*access.InsufficientScope](err); ok && !lacks.Need.Has(needed(row.must)) {
					t.Fatalf("%s: the challenge asks for %s", name, lacks.Need)
				}
			}
		}
	}
}

func rule(who string, repo oci.RepoName, may string) string {
	if may == "" {
		return "[]"
	}
	return `[{who: ["` + who + `"], what: ["` + string(repo) + `"], may: [` + may + `]}]`
}

func scope(repo oci.RepoName, actions string) []string {
	if actions == "" {
		return nil
	}
	return []string{"repository:" + string(repo) + ":" + actions}
}

func needed(a access.Action) (access.Resource, string) {
	if a == "" {
		return access.Catalog, "*"
	}
	return access.Repository(string(app)), string(a)
}

func TestGuardOfAnonymous(t *testing.T) {
	h := newHouse(t)
	for name, row := range rows {
		before := h.db.Queries()
		err := row.call(t.Context(), registry.Guard(h, access.Authority{}))
		lacks, ok := errors.AsType[*access.InsufficientScope](err)
		if !ok || lacks.Present || !lacks.Need.Has(needed(row.must)) || h.db.Queries() != before {
			t.Errorf("%s without a token: %v", name, err)
		}
	}
}

const everything = "pull,push,delete"

// full returns alice with every right on app and a token that holds it.
func full(t *testing.T) access.Authority {
	return authority(t, "alice", rule("user:alice", app, everything), append(scope(app, everything), "registry:catalog:*")...)
}

func TestGuardOfExpiredToken(t *testing.T) {
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			au := full(t)
			au.Token.Expires = h.clock.Now().Add(time.Minute)
			if _, err := registry.Guard(h, au).StartUpload(t.Context(), app, registry.Upload{}); err != nil {
				t.Fatal(err)
			}
			h.clock.pass(10 * time.Minute)
			au.Token.Expired = true
			check := func(name string, au access.Authority, excused string) {
				t.Helper()
				want := "token"
				if row.grace {
					want = excused
				}
				if err := row.call(t.Context(), registry.Guard(h, au)); refusal(err) != want {
					t.Errorf("%s: %v, want %q", name, err, want)
				}
			}
			check("push that began with it", au, "")
			other := au
			other.Token.ID = "jti-2"
			check("another token", other, "token")
			if row.must != "" { // S-22: a lost right is never excused
				revoked := authority(t, "alice", "[]", scope(app, everything)...)
				revoked.Token = au.Token
				if err := row.call(t.Context(), registry.Guard(h, revoked)); refusal(err) != "denied" {
					t.Errorf("right was lost: %v", err)
				}
			}
			narrow := au
			narrow.Held = access.Grants{}
			if row.grace {
				check("token that held nothing", narrow, "scope")
			}
			h.clock.pass(registry.PushGrace)
			check("after the grace", au, "token")
		})
	}
}

// A session opened in the grace does not lengthen it, nor does one elsewhere.
func TestGraceIsNotPassedOn(t *testing.T) {
	h := newHouse(t)
	au := authority(t, "alice", rule("user:alice", "**", everything), append(scope(app, everything), scope("team-a/two", everything)...)...)
	au.Token.Expires = h.clock.Now().Add(time.Minute)
	if _, err := registry.Guard(h, au).StartUpload(t.Context(), app, registry.Upload{}); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(10 * time.Minute)
	au.Token.Expired = true
	if _, err := registry.Guard(h, au).StartUpload(t.Context(), "team-a/two", registry.Upload{}); refusal(err) != "token" {
		t.Fatalf("upload to another repository: %v", err)
	}
	if _, err := registry.Guard(h, au).StartUpload(t.Context(), app, registry.Upload{}); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(55 * time.Minute)
	if _, err := registry.Guard(h, au).StartUpload(t.Context(), app, registry.Upload{}); refusal(err) != "token" {
		t.Fatalf("upload after the grace: %v", err)
	}
}

// S-17: to who has no right, what exists and what does not are one.
func TestNoRightNoDifference(t *testing.T) {
	h := newHouse(t)
	d := push(t, h, secret, []byte("secret"))
	for name, au := range map[string]access.Authority{
		"S-17 mallory":         authority(t, "mallory", "[]", scope(app, everything)...),
		"S-17 anonymous":       {},
		"S-17 anonymous token": authority(t, "", "[]"),
	} {
		t.Run(name, func(t *testing.T) {
			g := registry.Guard(h, au)
			for _, call := range []func(oci.RepoName) error{
				func(r oci.RepoName) error { _, err := g.Manifest(t.Context(), r, oci.ByTag("v1")); return err },
				func(r oci.RepoName) error { _, err := g.StatBlob(t.Context(), r, d); return err },
				func(r oci.RepoName) error { return drain(g.Tags(t.Context(), r, "")) },
				func(r oci.RepoName) error { return drain(g.Referrers(t.Context(), r, d, "")) },
				func(r oci.RepoName) error { _, err := g.StartUpload(t.Context(), r, registry.Upload{}); return err },
				func(r oci.RepoName) error { return g.DeleteTag(t.Context(), r, "v1", nil) },
			} {
				there, gone := call(secret), call(absent)
				if refusal(there) == "" || strings.ReplaceAll(there.Error(), string(secret), string(absent)) != gone.Error() {
					t.Errorf("there: %v; not there: %v", there, gone)
				}
			}
		})
	}
}
