package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// teams gives alice team-a, bob team-b, and everyone public.
const teams = `
  - {who: ["user:alice"], what: ["team-a/**"], may: [pull, push, delete]}
  - {who: ["user:bob"], what: ["team-b/**", "team-a/shared"], may: [pull, push, delete]}
  - {who: ["anyone"], what: ["public/**"], may: [pull]}`

// TestMountThroughGuard counts queries too: a blob that alice may not pull and
// one that is not there take the same steps.
func TestMountThroughGuard(t *testing.T) {
	h := newHouse(t)
	mine := push(t, h, "team-a/base", []byte("mine"))
	open := push(t, h, "public/base", []byte("open"))
	hidden := push(t, h, secret, []byte("hidden"))
	both := push(t, h, secret, []byte("both"))
	push(t, h, "public/base", []byte("both"))
	push(t, h, "team-a/other", []byte("fill"))

	cases := []struct {
		name string
		src  registry.BlobAt
		want error
	}{
		{"from an own repository", registry.BlobAt{Repo: "team-a/base", Digest: mine}, nil},
		{"from what anyone may pull", registry.BlobAt{Repo: "public/base", Digest: open}, nil},
		{"S-12 mount of another's blob", registry.BlobAt{Repo: secret, Digest: hidden}, oci.BlobUnknown},
		{"S-12 mount of a random digest", registry.BlobAt{Repo: secret, Digest: nobody}, oci.BlobUnknown},
		{"S-12 mount from a repository that is not there", registry.BlobAt{Repo: absent, Digest: nobody}, oci.BlobUnknown},
		{"S-12 random digest from an own repository", registry.BlobAt{Repo: "team-a/base", Digest: nobody}, oci.BlobUnknown},
		{"S-13 without from, own", registry.BlobAt{Digest: mine}, nil},
		{"S-13 without from, held by an open repository too", registry.BlobAt{Digest: both}, nil},
		{"S-13 without from, another's blob", registry.BlobAt{Digest: hidden}, oci.BlobUnknown},
		{"S-13 without from, random digest", registry.BlobAt{Digest: nobody}, oci.BlobUnknown},
	}
	cost := map[bool]int64{} // by whether from was given
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			target := oci.RepoName(fmt.Sprintf("team-a/t%d", i))
			scopes := scope(target, "pull,push")
			for _, from := range []oci.RepoName{"team-a/base", "public/base", secret, absent} {
				scopes = append(scopes, scope(from, "pull")...)
			}
			g := registry.Guard(h, authority(t, "alice", teams, scopes...))
			before := h.db.Queries()
			_, err := g.MountBlob(t.Context(), target, c.src)
			spent := h.db.Queries() - before
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Fatalf("mount: %v, want %v", err, c.want)
			}
			_, err = h.StatBlob(t.Context(), target, c.src.Digest)
			if !errors.Is(err, c.want) {
				t.Fatalf("stat after mount: %v, want %v", err, c.want)
			}
			if c.want == nil {
				return
			}
			anon := c.src.Repo == ""
			if first, found := cost[anon]; found && first != spent {
				t.Errorf("%d queries, where another refusal took %d", spent, first)
			}
			cost[anon] = spent
		})
	}
}

func TestMountNamesEveryScope(t *testing.T) {
	h := newHouse(t)
	d := push(t, h, "team-a/base", []byte("mine"))
	src := registry.BlobAt{Repo: "team-a/base", Digest: d}
	const both = "repository:team-a/app:pull,push repository:team-a/base:pull"
	for _, c := range []struct {
		name string
		au   access.Authority
		src  registry.BlobAt
		want string
	}{
		{"no token", access.Authority{}, src, "repository:team-a/app:pull,push repository:team-a/base:pull"},
		{"token for nothing", authority(t, "alice", teams), src, both},
		{"token for the target", authority(t, "alice", teams, scope(app, "pull,push")...), src, both},
		{"token for the source", authority(t, "alice", teams, scope("team-a/base", "pull")...), src, both},
		{"source that can never be had", authority(t, "alice", teams), registry.BlobAt{Repo: secret, Digest: d}, "repository:team-a/app:pull,push"},
		{"no source", authority(t, "alice", teams), registry.BlobAt{Digest: d}, "repository:team-a/app:pull,push"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := registry.Guard(h, c.au).MountBlob(t.Context(), app, c.src)
			lacks, ok := errors.AsType[*access.InsufficientScope](err)
			if !ok || lacks.Need.String() != c.want || lacks.Present != c.au.Token.Present() {
				t.Fatalf("mount: %v, want %s", err, c.want)
			}
		})
	}
}

// S-22: a push whose token ends between two requests mounts as well as it
// uploads.
func TestMountInTheGrace(t *testing.T) {
	h := newHouse(t)
	d := push(t, h, "team-a/base", []byte("mine"))
	au := authority(t, "alice", teams, append(scope(app, "pull,push"), scope("team-a/base", "pull")...)...)
	au.Token.Expires = h.clock.Now()
	if _, err := registry.Guard(h, au).StartUpload(t.Context(), app, registry.Upload{}); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(registry.PushGrace / 2)
	au.Token.Expired = true
	if _, err := registry.Guard(h, au).MountBlob(t.Context(), app, registry.BlobAt{Repo: "team-a/base", Digest: d}); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Guard(h, au).MountBlob(t.Context(), "team-a/two", registry.BlobAt{Repo: app, Digest: d}); refusal(err) != "token" {
		t.Fatalf("mount in a repository where no push began: %v", err)
	}
}

// S-20: an upload belongs to one principal in one repository.
func TestUploadOfAnother(t *testing.T) {
	h := newHouse(t)
	const shared oci.RepoName = "team-a/shared"
	alice := registry.Guard(h, authority(t, "alice", teams, append(scope(shared, everything), scope(app, everything)...)...))
	bob := registry.Guard(h, authority(t, "bob", teams, append(scope(shared, everything), scope(secret, everything)...)...))
	id, err := alice.StartUpload(t.Context(), shared, registry.Upload{Owner: "uid-bob", Token: "jti-bob"})
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("layer")
	missing := registry.Upload{ID: id[1:] + "0"}
	for _, c := range []struct {
		name string
		who  registry.Registry
		repo oci.RepoName
		u    registry.Upload
	}{
		{"S-20 bob, same repository", bob, shared, registry.Upload{ID: id}},
		{"S-20 bob as alice", bob, shared, registry.Upload{ID: id, Owner: "uid-alice", Token: "jti-alice"}},
		{"S-20 bob, own repository", bob, secret, registry.Upload{ID: id}},
		{"S-20 alice, other repository", alice, app, registry.Upload{ID: id}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for what, call := range map[string]func(registry.Upload) error{
				"size": func(u registry.Upload) error { _, err := c.who.UploadSize(t.Context(), c.repo, u); return err },
				"append": func(u registry.Upload) error {
					_, err := c.who.AppendUpload(t.Context(), c.repo, u, registry.Chunk{Body: bytes.NewReader(body)})
					return err
				},
				"finish": func(u registry.Upload) error {
					_, err := c.who.FinishUpload(t.Context(), c.repo, u, oci.FromBytes(nil))
					return err
				},
				"cancel": func(u registry.Upload) error { return c.who.CancelUpload(t.Context(), c.repo, u) },
			} {
				before := h.db.Queries()
				got := call(c.u)
				spent := h.db.Queries() - before
				want := call(missing)
				if !errors.Is(got, oci.BlobUploadUnknown) || got.Error() != want.Error() {
					t.Errorf("%s: %v, and %v for a missing session", what, got, want)
				}
				if spent != h.db.Queries()-before-spent {
					t.Errorf("%s: %d queries, and another number for a missing session", what, spent)
				}
			}
		})
	}
	u := registry.Upload{ID: id}
	if size, err := alice.AppendUpload(t.Context(), shared, u, registry.Chunk{Body: bytes.NewReader(body)}); err != nil || size != 5 {
		t.Fatalf("alice appends: %d, %v", size, err)
	}
	if _, err := alice.FinishUpload(t.Context(), shared, u, oci.FromBytes(body)); err != nil {
		t.Fatalf("alice finishes: %v", err)
	}
}

// S-22: a right that is lost in the middle of a push stops it, token or no
// token, and gives nothing half-done to see.
func TestRightIsLostDuringPush(t *testing.T) {
	h := newHouse(t)
	before := authority(t, "alice", teams, scope(app, everything)...)
	after := authority(t, "alice", `[{who: ["user:alice"], what: ["team-a/**"], may: [pull]}]`, scope(app, everything)...)
	body := []byte("layer")
	id, err := registry.Guard(h, before).StartUpload(t.Context(), app, registry.Upload{})
	if err != nil {
		t.Fatal(err)
	}
	u := registry.Upload{ID: id}
	if _, err := registry.Guard(h, before).AppendUpload(t.Context(), app, u, registry.Chunk{Body: bytes.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
	lost := registry.Guard(h, after)
	for what, call := range map[string]func() error{
		"append": func() error {
			_, err := lost.AppendUpload(t.Context(), app, u, registry.Chunk{At: registry.AtEnd, Body: bytes.NewReader(body)})
			return err
		},
		"finish": func() error { _, err := lost.FinishUpload(t.Context(), app, u, oci.FromBytes(body)); return err },
		"mount": func() error {
			_, err := lost.MountBlob(t.Context(), app, registry.BlobAt{Digest: oci.FromBytes(body)})
			return err
		},
		"cancel": func() error { return lost.CancelUpload(t.Context(), app, u) },
	} {
		if err := call(); refusal(err) != "denied" {
			t.Errorf("S-22 %s after the right was lost: %v", what, err)
		}
	}
	if _, err := lost.StatBlob(t.Context(), app, oci.FromBytes(body)); !errors.Is(err, oci.BlobUnknown) {
		t.Errorf("blob of an unfinished push: %v", err)
	}
}

// S-22, I-19: a right that is given again does not revive the sessions that its
// loss has ended; those of others stay.
func TestUploadDiesWithTheRight(t *testing.T) {
	const shared oci.RepoName = "team-a/shared"
	of := func(name, rules string) access.Authority {
		return authority(t, name, rules, scope(shared, everything)...)
	}
	for what, call := range map[string]func(registry.Registry, registry.Upload) error{
		"size": func(r registry.Registry, u registry.Upload) error {
			_, err := r.UploadSize(t.Context(), shared, u)
			return err
		},
		"append": func(r registry.Registry, u registry.Upload) error {
			_, err := r.AppendUpload(t.Context(), shared, u, registry.Chunk{At: registry.AtEnd, Body: bytes.NewReader([]byte("x"))})
			return err
		},
		"finish": func(r registry.Registry, u registry.Upload) error {
			_, err := r.FinishUpload(t.Context(), shared, u, oci.FromBytes([]byte("x")))
			return err
		},
		"cancel": func(r registry.Registry, u registry.Upload) error { return r.CancelUpload(t.Context(), shared, u) },
	} {
		t.Run(what, func(t *testing.T) {
			h := newHouse(t)
			alice, bob := registry.Guard(h, of("alice", teams)), registry.Guard(h, of("bob", teams))
			start := func(r registry.Registry) registry.Upload {
				id, err := r.StartUpload(t.Context(), shared, registry.Upload{})
				if err != nil {
					t.Fatal(err)
				}
				return registry.Upload{ID: id}
			}
			hers, his := start(alice), start(bob)
			lost := registry.Guard(h, of("alice", "[]"))
			for _, u := range []registry.Upload{his, hers} {
				if err := call(lost, u); refusal(err) != "denied" {
					t.Fatalf("without the right: %v", err)
				}
			}
			if _, err := alice.UploadSize(t.Context(), shared, hers); !errors.Is(err, oci.BlobUploadUnknown) {
				t.Errorf("the right is given again, and so is the session: %v", err)
			}
			if _, err := bob.UploadSize(t.Context(), shared, his); err != nil {
				t.Errorf("the session of another has ended: %v", err)
			}
		})
	}
}

// S-01: who may pull alone pulls, and nothing else.
func TestPullOnly(t *testing.T) {
	h := newHouse(t)
	d := push(t, h, app, []byte("x"))
	g := registry.Guard(h, authority(t, "carol", rule("user:carol", app, "pull"), scope(app, everything)...))
	r, err := g.OpenBlob(t.Context(), app, d)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || string(b) != "x" {
		t.Fatalf("read: %q, %v", b, err)
	}
	if _, err := g.StartUpload(t.Context(), app, registry.Upload{}); refusal(err) != "denied" {
		t.Errorf("start upload: %v", err)
	}
	if err := g.DeleteBlob(t.Context(), app, d); refusal(err) != "denied" {
		t.Errorf("delete blob: %v", err)
	}
}
