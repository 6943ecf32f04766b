package server_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
)

// A password that nobody saw must not count.
func TestBannerCannotBeWritten(t *testing.T) {
	c := settings(t)
	_, err := server.New(t.Context(), c, server.Options{Out: brokenPipe{}})
	hasHint(t, err, "broken pipe")
	r := start(t, c, server.Options{})
	found := shownPassword.FindStringSubmatch(r.out.String())
	if found == nil {
		t.Fatal("the next start shows no password")
	}
	if resp, _ := r.get(t, "/token", asAdmin(found[1])); resp.StatusCode != 200 {
		t.Error("the password does not count")
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// a secret that was never filled in is refused; the file counts once.
func TestAdminPasswordFile(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		mode os.FileMode
		want string // error, or "" and the password is
		good string
	}{
		"X-04 empty":            {"", 0o600, "is empty", ""},
		"X-04 only a newline":   {"\n", 0o600, "is empty", ""},
		"X-04 second line":      {"\ncorrect-horse-battery\n", 0o600, "is empty", ""},
		"X-04 short":            {"Xq7_kf0!a\n", 0o600, "use at least 12", ""},
		"X-04 changeme":         {"changeme\n", 0o600, "use at least 12", ""},
		"X-04 changeme, longer": {"ChangeMe-123456\n", 0o600, "well-known", ""},
		"X-04 change-me":        {"CHANGE_ME_PLEASE\n", 0o600, "well-known", ""},
		"X-04 password":         {"password12345\n", 0o600, "well-known", ""},
		"X-04 placeholder":      {"<your-password>\n", 0o600, "well-known", ""},
		"X-04 the product":      {"sallyport-admin\n", 0o600, "well-known", ""},
		"X-04 digits":           {"123456789012\n", 0o600, "well-known", ""},
		"X-04 one letter":       {"aaaaaaaaaaaaaaaa\n", 0o600, "well-known", ""},
		"X-03 group":            {"correct-horse-battery\n", 0o640, "can be read by others", ""},
		"X-03 world":            {"correct-horse-battery\n", 0o644, "can be read by others", ""},
		"newline":               {"correct-horse-battery\n", 0o600, "", "correct-horse-battery"},
		"no newline":            {"correct-horse-battery", 0o400, "", "correct-horse-battery"},
		"CRLF":                  {"correct-horse-battery\r\nmore\r\n", 0o600, "", "correct-horse-battery"},
		"spaces count":          {" correct horse battery \n", 0o600, "", " correct horse battery "},
		"begins like a word":    {"testify-Zebra-moonlight-91\n", 0o600, "", "testify-Zebra-moonlight-91"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "password")
			write(t, path, []byte(tt.text))
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			got, madeUp, err := server.FirstPassword(path)
			if tt.want != "" {
				hasHint(t, err, tt.want)
				return
			}
			if err != nil || madeUp || got.Reveal() != tt.good {
				t.Errorf("%q %v %v", got.Reveal(), madeUp, err)
			}
		})
	}
	t.Run("first start only", func(t *testing.T) {
		c := settings(t)
		c.AdminPasswordFile = filepath.Join(t.TempDir(), "password")
		_, err := server.New(t.Context(), c, server.Options{})
		hasHint(t, err, "admin_password_file")
		write(t, c.AdminPasswordFile, []byte("correct-horse-battery\n"))
		r := start(t, c, server.Options{})
		if out := r.out.String(); strings.Contains(out, "correct-horse") || !strings.Contains(out, "password       the first line of "+c.AdminPasswordFile) {
			t.Errorf("%s", out)
		}
		r.stop()
		if err := r.err(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(c.AdminPasswordFile); err != nil {
			t.Fatal(err)
		}
		r = start(t, c, server.Options{})
		if resp, _ := r.get(t, "/token", asAdmin("correct-horse-battery")); resp.StatusCode != 200 {
			t.Error("the password was lost")
		}
	})
}

func TestStartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	first := settings(t)
	start(t, first, server.Options{})
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, []byte("mysql://u:geheim@h/d\n"))
	notADatabase := filepath.Join(t.TempDir(), "x.db")
	write(t, notADatabase, bytes.Repeat([]byte("no database "), 1000))
	url := func(s string) config.DatabaseURL {
		d, err := config.NewDatabaseURL(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for name, tt := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"port in use":             {func(c *config.Config) { c.Listen = taken.Addr().String() }, "listen: 127.0.0.1:"},
		"health port in use":      {func(c *config.Config) { c.Health.Listen = taken.Addr().String() }, "address already in use"},
		"not our address":         {func(c *config.Config) { c.Listen, c.ExternalURL = "192.0.2.1:0", "https://a" }, "listen: "},
		"beyond loopback":         {func(c *config.Config) { c.Listen = "0.0.0.0:0" }, "external_url: is missing"},
		"data is a file":          {func(c *config.Config) { c.Data = file }, "data"},
		"data below a file":       {func(c *config.Config) { c.Data = file + "/data" }, "data"},
		"data in use":             {func(c *config.Config) { c.Data = first.Data }, "held by another sallyport"},
		"database in use":         {func(c *config.Config) { c.Database = url("sqlite:" + first.Data + "/metadata.db") }, "held by another sallyport"},
		"no database there":       {func(c *config.Config) { c.Database = url("sqlite:/nowhere/at/all.db") }, "metadata database"},
		"not a database":          {func(c *config.Config) { c.Database = url("sqlite:" + notADatabase) }, "metadata database"},
		"PostgreSQL is down":      {func(c *config.Config) { c.Database = url("postgres://u:geheim@127.0.0.1:1/d") }, "metadata database"},
		"no database file":        {func(c *config.Config) { c.DatabaseFile = "/nowhere" }, "database_file"},
		"bad database file":       {func(c *config.Config) { c.DatabaseFile = file }, "holds no database URL"},
		"no certificate":          {func(c *config.Config) { c.TLS.Certificate, c.TLS.Key = "/nowhere", "/nowhere" }, "certificate"},
		"certificate without PEM": {func(c *config.Config) { c.TLS.Certificate, c.TLS.Key = file, file }, "certificate"},
		"invalid by itself":       {func(c *config.Config) { c.Listen = "x" }, "is not an address"},
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(t)
			tt.change(&c)
			_, err := server.New(t.Context(), c, server.Options{Out: io.Discard})
			hasHint(t, err, tt.want)
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("L-01 %v", err)
			}
		})
	}
}

// A failed start leaves nothing behind: the next one works.
func TestFailedStartReleases(t *testing.T) {
	c := settings(t)
	c.AdminPasswordFile = "/nowhere"
	for range 3 {
		_, err := server.New(t.Context(), c, server.Options{})
		hasHint(t, err, "admin_password_file")
	}
	c.AdminPasswordFile = ""
	start(t, c, server.Options{})
}
