package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

// record reads the whole record, oldest first, in pages of the size given, and
// checks the chain.
func record(t *testing.T, db *metadata.DB, q ledger.Query) []ledger.Sealed {
	t.Helper()
	anchor, head, err := db.Ledger().Ends(t.Context())
	must(t, err)
	chain := ledger.From(anchor)
	whole := q == ledger.Query{Limit: q.Limit}
	q.After = ledger.Seq{N: anchor.Seq, Given: true}
	var out []ledger.Sealed
	for {
		page, err := db.Ledger().Read(t.Context(), q)
		must(t, err)
		for _, s := range page.Events {
			if whole {
				must(t, chain.Add(s))
			}
			if _, err := ledger.ParseLine(s.Line()); err != nil {
				t.Fatalf("%s: %v", s.Line(), err)
			}
			out = append(out, s)
		}
		if !page.Next.Given {
			break
		}
		q.After = page.Next
	}
	if whole && chain.At() != head {
		t.Fatalf("the chain ends at %+v, want %+v", chain.At(), head)
	}
	return out
}

func pull(who, repo string, at time.Time) ledger.Event {
	return ledger.Event{Time: at, Kind: ledger.Pull, Decision: ledger.Allowed, Action: "manifest", Principal: who, Repository: repo}
}

func TestAuditRecord(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		base := time.Now().UTC().Truncate(time.Second).Add(-time.Hour)
		var want []ledger.Event
		for i := range 90 {
			at := base.Add(time.Duration(i) * time.Second)
			var batch []ledger.Event
			for range i % 4 {
				batch = append(batch, pull("user:alice", fmt.Sprintf("team/%d", i%3), at))
			}
			batch = append(batch, ledger.Event{Time: at, Kind: ledger.Login, Principal: fmt.Sprintf("user:u%d", i%2), RequestID: fmt.Sprint("r", i)})
			if i%5 == 0 {
				batch = append(batch, ledger.Event{Time: at, Kind: ledger.Push, Decision: ledger.Denied, Principal: "user:mallory", Repository: "team"})
			}
			must(t, db.Ledger().Append(t.Context(), batch))
			want = append(want, batch...)
		}
		for _, size := range []int{1, 7, 1000} {
			got := record(t, db, ledger.Query{Limit: size})
			if len(got) != len(want) {
				t.Fatalf("%d events in pages of %d, want %d", len(got), size, len(want))
			}
		}
		for _, q := range []ledger.Query{
			{Principal: "user:alice"}, {Principal: "user:u1"}, {Repository: "team/1"}, {Repository: "team/**"}, {Repository: "team"},
			{RequestID: "r7"}, {Denied: true}, {Kind: ledger.Login}, {Kind: ledger.Pull}, {Since: base.Add(30 * time.Second)},
			{Until: base.Add(30 * time.Second)}, {Since: base.Add(10 * time.Second), Until: base.Add(20 * time.Second), Principal: "user:alice"},
			{Principal: "user:none"}, {Repository: "%"}, {Kind: "none"},
		} {
			count := 0
			for _, e := range want {
				if e = e.Normal(); q.Matches(&e) {
					count++
				}
			}
			q.Limit = 9
			if got := record(t, db, q); len(got) != count {
				t.Errorf("%+v: %d events, want %d", q, len(got), count)
			}
			// Backward, the same.
			n, last := 0, int64(1<<62)
			for {
				page, err := db.Ledger().Read(t.Context(), q)
				must(t, err)
				for _, s := range page.Events {
					if s.Seq >= last {
						t.Fatalf("%+v: event %d after event %d", q, s.Seq, last)
					}
					n, last = n+1, s.Seq
				}
				if !page.Next.Given {
					break
				}
				q.Before = page.Next
			}
			if n != count {
				t.Errorf("%+v, backward: %d events, want %d", q, n, count)
			}
		}
	})
}

// TestAuditChange: L-04, a change and its event happen together or not at all.
func TestAuditChange(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		d := blobOf("x")
		must(t, push(t.Context(), db.Catalog(), "a", d))
		m := manifestOf("m", d)
		e := &ledger.Event{Kind: ledger.Push, Repository: "a", Tag: "1"}
		ctx := ledger.With(t.Context(), e)
		must(t, save(ctx, db.Catalog(), "a", m, []oci.Tag{"1"}))
		if !e.Recorded() || e.Seq != 1 {
			t.Fatalf("not recorded: %+v", e)
		}
		// A second transaction of the same action leaves no second event.
		must(t, save(ctx, db.Catalog(), "a", m, []oci.Tag{"1"}))
		if got := record(t, db, ledger.Query{Limit: 10}); len(got) != 1 || got[0].Tag != "1" {
			t.Fatalf("recorded %+v", got)
		}
		// What fails leaves nothing.
		failed := &ledger.Event{Kind: ledger.Delete}
		if err := db.Catalog().DeleteTag(ledger.With(t.Context(), failed), "a", "none", registrytest.AnyTag); !errors.Is(err, oci.ManifestUnknown) || failed.Recorded() {
			t.Fatalf("%v, recorded %v", err, failed.Recorded())
		}
		breakRecord(t, db)
		lost := &ledger.Event{Kind: ledger.Delete, Tag: "1"}
		if err := db.Catalog().DeleteTag(ledger.With(t.Context(), lost), "a", "1", registrytest.AnyTag); err == nil || lost.Recorded() {
			t.Fatalf("L-04: deleted without an event (%v)", err)
		}
		if _, err := db.Catalog().FindManifest(t.Context(), "a", oci.ByTag("1")); err != nil {
			t.Errorf("L-04: the tag is gone: %v", err)
		}
		if err := db.Ledger().Append(t.Context(), []ledger.Event{{Kind: ledger.Login}}); err == nil {
			t.Error("appended")
		}
		mendRecord(t, db)
		must(t, db.Catalog().DeleteTag(ledger.With(t.Context(), lost), "a", "1", registrytest.AnyTag))
		if got := record(t, db, ledger.Query{Limit: 10}); len(got) != 2 {
			t.Errorf("recorded %+v", got)
		}
	})
}

// The event of a deleted manifest says which tags went with it.
func TestAuditDeletedTags(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		d := blobOf("x")
		must(t, push(t.Context(), db.Catalog(), "a", d))
		for _, tags := range [][]oci.Tag{{"v1", "latest"}, nil} {
			m := manifestOf("m", d)
			must(t, save(t.Context(), db.Catalog(), "a", m, tags))
			e := &ledger.Event{Kind: ledger.Delete, Repository: "a", RequestID: fmt.Sprint(len(tags))}
			must(t, db.Catalog().DeleteManifest(ledger.With(t.Context(), e), "a", m.Digest, registrytest.AnyTag))
			want := map[int]string{2: "latest v1"}[len(tags)]
			if got := record(t, db, ledger.Query{Limit: 10, RequestID: e.RequestID}); len(got) != 1 || got[0].Detail["tags"] != want {
				t.Errorf("%v: recorded %+v", tags, got)
			}
		}
	})
}

func breakRecord(t *testing.T, db *metadata.DB) {
	t.Helper()
	must(t, db.Write(t.Context(), func(exec metadata.Exec) error {
		_, err := exec(`ALTER TABLE audit_event RENAME TO audit_gone`)
		return err
	}))
}

func mendRecord(t *testing.T, db *metadata.DB) {
	t.Helper()
	must(t, db.Write(t.Context(), func(exec metadata.Exec) error {
		_, err := exec(`ALTER TABLE audit_gone RENAME TO audit_event`)
		return err
	}))
}

// exerciseAudit sends every statement of the record.
func exerciseAudit(t *testing.T, db *metadata.DB) {
	b, now := db.Ledger(), time.Now()
	must(t, b.Append(t.Context(), []ledger.Event{pull("user:a", "r", now), {Time: now, Kind: ledger.Login}}))
	for _, q := range []ledger.Query{
		{}, {Principal: "user:a"}, {Repository: "r"}, {RequestID: "r"}, {Denied: true}, {Kind: ledger.Pull},
		{Since: now.Add(-time.Hour)}, {Until: now}, {After: ledger.Seq{Given: true}}, {Before: ledger.Seq{N: 5, Given: true}},
	} {
		q.Limit = 10
		_, err := b.Read(t.Context(), q)
		must(t, err)
	}
	_, _, err := b.Ends(t.Context())
	must(t, err)
	_, err = b.Remove(t.Context(), now.Add(time.Hour), 10)
	must(t, err)
}

// TestAuditConcurrent: writers of two processes keep one chain.
func TestAuditConcurrent(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		dbs := []*metadata.DB{metadatatest.Open(t, url, metadata.Options{})}
		if strings.HasPrefix(url, "postgres") {
			dbs = append(dbs, metadatatest.Open(t, url, metadata.Options{}))
		}
		const each = 20
		together(4*len(dbs), func(i int) bool {
			db := dbs[i%len(dbs)]
			for n := range each {
				if i%4 == 0 {
					must(t, db.Ledger().Append(context.Background(), []ledger.Event{pull("user:a", "r", time.Now()), {Kind: ledger.Login}}))
					continue
				}
				d := blobOf(fmt.Sprint(i, n))
				repo := oci.RepoName(fmt.Sprintf("r%d", i%3))
				must(t, push(context.Background(), db.Catalog(), repo, d))
				e := &ledger.Event{Kind: ledger.Push}
				must(t, save(ledger.With(context.Background(), e), db.Catalog(), repo, manifestOf(fmt.Sprint(i, n), d), []oci.Tag{"t"}))
				if !e.Recorded() {
					t.Error("a push without an event")
				}
			}
			return true
		})
		want := len(dbs) * (1*each*2 + 3*each)
		if got := record(t, dbs[0], ledger.Query{Limit: 100}); len(got) != want {
			t.Errorf("%d events, want %d", len(got), want)
		}
	})
}

// TestAuditRemove: the chain holds from the anchor on, and what went is told.
func TestAuditRemove(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		base := time.Now().Add(-100 * time.Hour)
		for i := range 50 {
			at := base.Add(time.Duration(i) * time.Hour)
			must(t, db.Ledger().Append(t.Context(), []ledger.Event{pull("user:a", "r", at), pull("user:a", "r", at.Add(time.Minute)), {Time: at, Kind: ledger.Login}}))
		}
		var total, rounds int64
		for {
			n, err := db.Ledger().Remove(t.Context(), base.Add(20*time.Hour), 7)
			must(t, err)
			if n == 0 {
				break
			}
			total, rounds = total+n, rounds+1
		}
		if total != 20*3 {
			t.Errorf("%d removed", total)
		}
		got := record(t, db, ledger.Query{Limit: 10})
		if len(got) != 30*3+int(rounds) || got[0].Seq != 61 {
			t.Errorf("%d events left, from %d", len(got), got[0].Seq)
		}
		must(t, verify(t, db))
		if last := got[len(got)-1]; last.Kind != ledger.Audit || last.Detail["last"] != "60" {
			t.Errorf("the last event is %s", last.Line())
		}
	})
}

// TestAuditTampered: L-05 in the database.
func TestAuditTampered(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"delete one", `DELETE FROM audit_event WHERE seq = 6`},
		{"delete a batch", `DELETE FROM audit_batch WHERE last = 5`},
		{"delete the end", `DELETE FROM audit_event WHERE seq = 12`},
		{"edit", `UPDATE audit_event SET canonical = replace(canonical, 'user:a', 'user:b') WHERE seq = 6`},
		{"edit into nonsense", `UPDATE audit_event SET canonical = 'x' WHERE seq = 6`},
		{"edit in a batch", `UPDATE audit_batch SET canonical = replace(canonical, 'user:a', 'user:b') WHERE last = 5`},
		{"edit a hash", `UPDATE audit_event SET hash = prev WHERE seq = 6`},
		{"file under another kind", `UPDATE audit_event SET kind = 'token' WHERE seq = 6`},
		{"file under another principal", `UPDATE audit_event SET principal = 'user:b' WHERE seq = 6`},
		{"file under another repository", `UPDATE audit_event SET repository = 'other' WHERE seq = 6`},
		{"file under another request", `UPDATE audit_event SET request = 'other' WHERE seq = 6`},
		{"file among the others", `UPDATE audit_event SET denied = NOT denied WHERE seq = 6`},
		{"file under another time", `UPDATE audit_event SET time = time - 1 WHERE seq = 6`},
		{"swap", `UPDATE audit_event SET seq = 100 - seq WHERE seq IN (6, 9)`},
		{"move the anchor", `UPDATE audit_link SET seq = 4 WHERE id = 0`},
		{"move the end", `UPDATE audit_link SET seq = 11 WHERE id = 1`},
		{"delete the beginning and move the anchor", `DELETE FROM audit_event WHERE seq <= 6; DELETE FROM audit_batch WHERE last <= 6;
			UPDATE audit_link SET seq = 6, hash = (SELECT prev FROM audit_batch WHERE first = 7) WHERE id = 0`},
		{"edit and compute its hash", `UPDATE audit_event SET canonical = '{canonical}', hash = x'{hash}' WHERE seq = 6`},
		{"edit the end and compute its hash", `UPDATE audit_event SET canonical = '{end canonical}', hash = x'{end hash}' WHERE seq = 12`},
		{"swap and compute the hash of the first", `UPDATE audit_event SET seq = 100 - seq WHERE seq IN (3, 6); UPDATE audit_event SET seq = 6 WHERE seq = 97;
			UPDATE audit_event SET seq = 3 WHERE seq = 94; UPDATE audit_event SET canonical = replace(canonical, '"seq":3,', '"seq":6,') WHERE seq = 6;
			UPDATE audit_event SET canonical = '{swapped canonical}', hash = x'{swapped hash}' WHERE seq = 3`},
	} {
		t.Run("L-05 "+c.name, func(t *testing.T) {
			db := metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{})
			for range 4 {
				must(t, db.Ledger().Append(t.Context(), []ledger.Event{pull("user:a", "r", time.Now()), pull("user:a", "r", time.Now()), {Kind: ledger.Login, Principal: "user:a"}}))
			}
			events := record(t, db, ledger.Query{Limit: 100})
			forge := func(at int64, e ledger.Event) ledger.Sealed {
				e.Principal = "user:b"
				return ledger.Seal(ledger.Link{Seq: at - 1, Hash: events[at-1].Prev}, e)
			}
			one, end, swapped := forge(6, events[5].Event), forge(12, events[11].Event), forge(3, events[5].Event)
			text := strings.NewReplacer("{canonical}", string(one.Canonical()), "{hash}", one.Hash.String(),
				"{end canonical}", string(end.Canonical()), "{end hash}", end.Hash.String(),
				"{swapped canonical}", string(swapped.Canonical()), "{swapped hash}", swapped.Hash.String()).Replace(c.text)
			must(t, db.Write(t.Context(), func(exec metadata.Exec) error {
				for statement := range strings.SplitSeq(text, ";") {
					n, err := exec(statement)
					if err == nil && n == 0 {
						err = errors.New("nothing was changed")
					}
					if err != nil {
						return err
					}
				}
				return nil
			}))
			if err := verify(t, db); !errors.Is(err, ledger.ErrBroken) {
				t.Errorf("not found: %v", err)
			}
		})
	}
}

// TestAuditRewritten: who can write the database can also cut off the end with its
// count. Only who has noted a place of the record elsewhere finds that out: it
// does not go through there any more.
func TestAuditRewritten(t *testing.T) {
	db := metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{})
	for range 4 {
		must(t, db.Ledger().Append(t.Context(), []ledger.Event{{Kind: ledger.Login, Principal: "user:a"}}))
	}
	_, noted, err := db.Ledger().Ends(t.Context())
	must(t, err)
	must(t, db.Write(t.Context(), func(exec metadata.Exec) error {
		_, err := exec(`DELETE FROM audit_event WHERE seq > 2`)
		if err == nil {
			_, err = exec(`UPDATE audit_link SET seq = 2, hash = (SELECT hash FROM audit_event WHERE seq = 2) WHERE id = 1`)
		}
		return err
	}))
	must(t, verify(t, db))
	for range 4 { // it goes on, over the place that was noted
		must(t, db.Ledger().Append(t.Context(), []ledger.Event{{Kind: ledger.Login, Principal: "user:b"}}))
	}
	for _, s := range record(t, db, ledger.Query{Limit: 100}) {
		if s.Link() == noted {
			t.Error("the record still goes through what was cut off")
		}
	}
}

// verify does what sallyport audit verify does.
func verify(t *testing.T, db *metadata.DB) error {
	anchor, head, err := db.Ledger().Ends(t.Context())
	must(t, err)
	chain := ledger.From(anchor)
	q := ledger.Query{After: ledger.Seq{N: anchor.Seq, Given: true}, Limit: 5}
	for {
		page, err := db.Ledger().Read(t.Context(), q)
		must(t, err)
		for _, s := range page.Events {
			s, err := ledger.ParseLine(s.Line())
			if err == nil {
				err = chain.Add(s)
			}
			if err != nil {
				return err
			}
		}
		if !page.Next.Given {
			return errors.Join(chain.EndsAt(head), chain.Accounted())
		}
		q.After = page.Next
	}
}
