package metadata_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
	"github.com/sallyport/sallyport/internal/token"
)

// exercise calls every method once, so that every statement has been sent.
func exercise(t *testing.T, db *metadata.DB) {
	ctx, c, w := t.Context(), db.Catalog(), db.Sweeps()
	later := time.Now().Add(time.Hour)
	d, subject := blobOf("x"), oci.Descriptor{Digest: blobOf("subject").Digest}
	must(t, c.SaveUpload(ctx, registry.Session{ID: "id", Repo: "a", Owner: "o", Token: "j", Started: time.Now()}))
	_, err := c.FindUpload(ctx, "id")
	must(t, err)
	_, err = c.BeganPush(ctx, "a", "j", later)
	must(t, err)
	must(t, push(ctx, c, "a", d))
	_, err = c.MountBlob(ctx, "b", registry.BlobAt{Repo: "a", Digest: d.Digest})
	must(t, err)
	must(t, db.Write(ctx, func(exec metadata.Exec) error { _, err := exec(`UPDATE blob_link SET leased = 1`); return err }))
	must(t, c.RenewLink(ctx, "a", d.Digest))
	m := manifestOf("m", d)
	m.Subject, m.Optional = &subject, []oci.Descriptor{d}
	must(t, save(ctx, c, "b", m, []oci.Tag{"1"}))
	must(t, save(ctx, c, "b", indexOf("i", m), []oci.Tag{"2"}))
	for _, ref := range []oci.Ref{oci.ByTag("1"), oci.ByDigest(m.Digest)} {
		_, err = c.FindManifest(ctx, "b", ref)
		must(t, err)
	}
	all(t, c.Repositories(ctx, "", ""))
	all(t, c.Repositories(ctx, "", "a"))
	all(t, c.Tags(ctx, "b", ""))
	all(t, c.Referrers(ctx, "b", subject.Digest, ""))
	all(t, c.Holders(ctx, d.Digest))
	_, err = w.ExpiredUploads(ctx, 10)
	must(t, err)
	must(t, w.DropUploads(ctx, []string{"id"}))
	_, err = w.KnownUpload(ctx, "id")
	must(t, err)
	_, err = w.UnusedLinks(ctx, later)
	must(t, err)
	_, err = w.DropUnusedLinks(ctx, later, 10)
	must(t, err)
	all(t, w.UnusedBlobs(ctx, later))
	_, err = w.RemoveBlob(ctx, d.Digest, later, func() error { return nil })
	must(t, err)
	_, err = w.AdoptBlob(ctx, d, later)
	must(t, err)
	_, err = w.UnknownBlobs(ctx, []oci.Digest{d.Digest})
	must(t, err)
	must(t, w.SaveSweep(ctx, gc.Report{Started: later}))
	_, _, err = w.LastSweep(ctx)
	must(t, err)
	_, err = w.CountBlobs(ctx)
	must(t, err)
	wantCode(t, c.DeleteBlob(ctx, "b", d.Digest), oci.Unsupported)
	must(t, c.DeleteTag(ctx, "b", "1", registrytest.AnyTag))
	must(t, c.DeleteManifest(ctx, "b", indexOf("i", m).Digest, registrytest.AnyTag))
	must(t, c.DeleteManifest(ctx, "b", m.Digest, registrytest.AnyTag))
	must(t, c.DeleteBlob(ctx, "b", d.Digest))
	must(t, c.DropUpload(ctx, "id"))
	exerciseAccounts(t, db)
}

func exerciseAccounts(t *testing.T, db *metadata.DB) {
	ctx, d, s := t.Context(), db.Directory(), db.Tokens()
	must(t, d.AddAccounts(ctx, accountOf("alice")))
	must(t, d.AddMember(ctx, "ops", "uid-alice"))
	must(t, d.AddKey(ctx, keyOf("k", "uid-alice")))
	must(t, s.SaveSession(ctx, sessionOf("s", "uid-alice", "k"), access.Proof{KeyID: "k"}, token.Room{}))
	must(t, s.SaveSession(ctx, sessionOf("s2", "uid-alice", ""), access.Proof{}, token.Room{Limit: 1, Keep: 1}))
	must(t, s.SaveSession(ctx, sessionOf("s3", "uid-alice", ""), access.Proof{}, token.Room{Limit: 1, Keep: 1}))
	for _, uid := range []string{"", "uid-alice"} {
		_, err := d.ListKeys(ctx, uid)
		must(t, err)
		_, err = s.ListSessions(ctx, uid, token.Place{}, 1000)
		must(t, err)
	}
	_, err := d.AccountByName(ctx, "alice")
	must(t, err)
	_, err = d.AccountByUID(ctx, "uid-alice")
	must(t, err)
	_, err = d.ListAccounts(ctx, access.User, "", 10)
	must(t, err)
	_, err = d.ListGroups(ctx)
	must(t, err)
	_, err = d.IsRetired(ctx, "alice")
	must(t, err)
	_, err = d.KeyBySum(ctx, keyOf("k", "").Sum)
	must(t, err)
	_, err = s.SessionBySum(ctx, sessionOf("s", "", "").Sum)
	must(t, err)
	_, err = s.SessionByID(ctx, "s")
	must(t, err)
	must(t, d.TouchKeys(ctx, uses(created, "k")))
	must(t, s.TouchSessions(ctx, uses(created, "s")))
	must(t, s.RevokeSession(ctx, "s", created))
	_, err = s.RevokeSessions(ctx, "uid-alice", created)
	must(t, err)
	_, err = s.DropSessions(ctx, created, created, 10)
	must(t, err)
	for _, id := range []string{"j1", "j2"} {
		must(t, s.SaveSession(ctx, jobOf(id, "main", "ci@1"), access.Proof{}, token.Room{Limit: 1, Keep: 1}))
	}
	_, err = s.ListSessions(ctx, jobOf("j1", "main", "").AccountID, token.Place{}, 1000)
	must(t, err)
	_, err = s.RevokeSessions(ctx, jobOf("j1", "main", "").AccountID, created)
	must(t, err)
	must(t, db.Issuers().SaveIssuer(ctx, storedOf("ci", "a: 1"), ""))
	must(t, db.Issuers().RemoveIssuer(ctx, "ci"))
	_, err = db.Issuers().Issuers(ctx)
	must(t, err)
	next := keyOf("k2", "uid-alice")
	next.Family = "k"
	_, err = d.RotateKey(ctx, "k", next, created.Add(time.Hour))
	must(t, err)
	must(t, d.NarrowKey(ctx, "k", access.Narrowing{}, access.Narrowing{Actions: []access.Action{access.Pull}}))
	_, err = d.EndingKeys(ctx, created, 10)
	must(t, err)
	must(t, d.RevokeKey(ctx, "k", created))
	_, err = d.DropKeys(ctx, created, 10)
	must(t, err)
	must(t, d.SetDisabled(ctx, "uid-alice", true))
	must(t, d.Rehash(ctx, "uid-alice", "from", "to"))
	must(t, d.SetPassword(ctx, "uid-alice", "to", created))
	must(t, d.SetDisabled(ctx, "uid-alice", false))
	a, err := d.AccountByUID(ctx, "uid-alice")
	must(t, err)
	must(t, d.ChangePassword(ctx, "uid-alice", a.PasswordSet, "to", created))
	reset := account.Reset{AccountID: "uid-alice", Expires: created.Add(time.Hour)}
	must(t, d.SaveReset(ctx, reset))
	_, err = d.ResetBySum(ctx, reset.Sum)
	must(t, err)
	must(t, d.Redeem(ctx, reset, "to", created))
	must(t, d.NoteNetwork(ctx, "uid-alice", "192.0.2.1/32", created, 16))
	_, err = d.NamesAt(ctx, "192.0.2.1/32", created, 10)
	must(t, err)
	_, err = d.DecoyKey(ctx)
	must(t, err)
	must(t, d.EachPasswordHash(ctx, func(string) {}))
	exercisePeople(t, db)
	must(t, d.RemoveMember(ctx, "ops", "uid-alice"))
	must(t, d.RemoveAccount(ctx, "uid-alice"))
	_, err = d.SavePolicy(ctx, account.PolicyVersion{}, 0)
	must(t, err)
	_, err = d.LatestPolicy(ctx)
	must(t, err)
	_, err = d.PolicyByVersion(ctx, 1)
	must(t, err)
	_, err = d.ListPolicies(ctx, 2, 1)
	must(t, err)
	exerciseAudit(t, db)
	for _, keys := range [][]token.SigningKey{{{ID: "k", Private: []byte{1}}}, {{ID: "k", Private: []byte{2}}}, nil} {
		must(t, s.ChangeSigningKeys(ctx, func([]token.SigningKey) ([]token.SigningKey, error) { return keys, nil }))
	}
}

func exercisePeople(t *testing.T, db *metadata.DB) {
	ctx, d := t.Context(), db.Directory()
	l := account.Link{AccountID: "uid-alice", Provider: "corp", Issuer: "https://idp.test", Subject: "1", Groups: []string{"corp/dev"}, Checked: created}
	must(t, d.AddLink(ctx, l))
	must(t, d.AddLink(ctx, l))
	must(t, d.Vouch(ctx, l, time.Time{}))
	_, _, err := d.Person(ctx, l.Issuer, l.Subject)
	must(t, err)
	_, err = d.Links(ctx, "a", "b")
	must(t, err)
	_, err = d.BeginCheck(ctx, l, created, time.Minute)
	must(t, err)
	_, _, err = d.Trespassers(ctx, "corp", l.Issuer)
	must(t, err)
	l.Renewal = []byte("renewal")
	must(t, d.KeepRenewal(ctx, l))
	must(t, d.KeepGroups(ctx, nil))
	must(t, d.Withdraw(ctx, l, created))
	must(t, d.RemoveLink(ctx, "uid-alice", l.Issuer, l.Subject, created))
}

// TestPlans looks at how SQLite would run every statement: none reads a table
// from end to end, and none sorts, unless it is listed here with the reason.
func TestPlans(t *testing.T) {
	db := sqliteDB(t)
	exercise(t, db)
	allowed := map[string]string{
		`^UPDATE blob_link SET leased = 1$`:        "this test's own",
		`^SELECT count\(\*\) FROM blob$`:           "a number for the operator",
		`FROM member WHERE issuer`:                 "once at the start, for providers that are gone",
		`FROM signing_key`:                         "a handful of rows",
		`FROM trusted_issuer ORDER BY`:             "all of them, which are kept in memory",
		`FROM access_key k .* ORDER BY`:            "a listing for the operator, newest first",
		`^SELECT m.group_name, a.kind`:             "a listing of every group for the operator",
		`ORDER BY (version|started) DESC LIMIT 1$`: "one row, from the end",
		`^DELETE FROM sweep`:                       "a hundred rows",
		`FROM audit_link ORDER BY`:                 "two rows",
		`^SELECT password_hash FROM account`:       "counts all accounts, once in minutes",
		`^DELETE FROM known_network`:               "the few networks of one account",
		`^WITH RECURSIVE line `:                    "walks the line, found by key",
		`^(UPDATE|DELETE FROM) session .* NOT IN`:  "the sessions of one account, a hundred, or one job's, once in hundreds of logins",
	}
	space := regexp.MustCompile(`\s+`)
	checked := 0
	for _, text := range db.Statements() {
		verb, _, _ := strings.Cut(text, " ")
		switch verb {
		case "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "EXPLAIN":
			continue
		}
		flat, excused := space.ReplaceAllString(text, " "), false
		for pattern := range allowed {
			excused = excused || regexp.MustCompile(pattern).MatchString(flat)
		}
		if excused {
			continue
		}
		steps, err := db.Plan(context.Background(), text)
		must(t, err)
		checked++
		for _, step := range steps {
			scan := strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, "CONSTANT ROW") && !strings.Contains(step, "SUBQUERY")
			if scan || strings.Contains(step, "TEMP B-TREE") {
				t.Errorf("%s\n\t%s", flat, strings.Join(steps, "\n\t"))
				break
			}
		}
	}
	if checked < 70 {
		t.Errorf("only %d statements were looked at", checked)
	}
}

// TestPlansOnPostgres asks the same of the paged listings, with tables large
// enough that the server would rather read them whole if it had to.
func TestPlansOnPostgres(t *testing.T) {
	plans := explainPostgres(t, map[string]string{
		"tags":         `SELECT name FROM tag WHERE repository_id = 1 AND name > 't050000' ORDER BY name LIMIT 100`,
		"repositories": `SELECT name FROM repository WHERE name > 'r5' AND name < E'\x7f' ORDER BY name LIMIT 100`,
		"referrers":    `SELECT digest FROM manifest WHERE repository_id = (SELECT id FROM repository WHERE name = 'r1') AND subject = 'x' AND digest > 'y' ORDER BY digest LIMIT 100`,
		"holders":      `SELECT l.repository_id, r.name FROM blob_link l JOIN repository r ON r.id = l.repository_id WHERE l.digest = 'd1' AND l.repository_id > 5 ORDER BY l.repository_id LIMIT 100`,
		"manifest":     `SELECT m.content FROM repository r JOIN tag t ON t.repository_id = r.id JOIN manifest m ON m.repository_id = r.id AND m.digest = t.digest WHERE r.name = 'r1' AND t.name = 't000001'`,
	})
	for name, plan := range plans {
		if strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Sort") {
			t.Errorf("%s:\n%s", name, plan)
		}
	}
}
