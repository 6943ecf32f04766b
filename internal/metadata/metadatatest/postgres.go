package metadatatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgresTemplate is the database that others are copied from.
const postgresTemplate = "tables"

// errMissing says that the machine has no PostgreSQL.
var errMissing = errors.New("PostgreSQL is not installed (looked for initdb in PATH and /usr/lib/postgresql)")

var (
	server    = sync.OnceValues(start)
	databases atomic.Int64
	// lifeline is held open for as long as the server is to run.
	lifeline io.Closer
)

// Postgres returns the URL of a fresh database, which has its tables. The server is
// started once for the test binary, and ends with it. Where PostgreSQL is missing
// the test is skipped, and says so; with CI=true it fails.
func Postgres(t testing.TB) string {
	t.Helper()
	return database(t, postgresTemplate)
}

// EmptyPostgres returns the URL of a database without tables, as Postgres does.
func EmptyPostgres(t testing.TB) string {
	t.Helper()
	return database(t, "template1")
}

func database(t testing.TB, template string) string {
	t.Helper()
	dir, err := server()
	if errors.Is(err, errMissing) && os.Getenv("CI") != "true" {
		t.Skipf("left out: everything on PostgreSQL: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("test%d", databases.Add(1))
	execute(t, dir, `CREATE DATABASE `+name+` TEMPLATE `+template)
	t.Cleanup(func() { execute(t, dir, `DROP DATABASE `+name+` WITH (FORCE)`) })
	return url(dir, name)
}

func url(dir, name string) string {
	return "postgres://postgres@/" + name + "?sslmode=disable&host=" + dir
}

func execute(t testing.TB, dir, text string) {
	ctx := context.Background() // the test's own has ended at clean-up
	conn, err := pgx.Connect(ctx, url(dir, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, text); err != nil {
		t.Error(err)
	}
}

// script runs the server until its standard input ends, which it does with the
// test binary, and removes the directory. Flushes are off: tests kill no
// machine. The default collation is not by bytes, so that what relies on it
// fails.
const script = `
cd "$1" || exit 1
"$2"/initdb -D data -U postgres -A trust -E UTF8 --locale=C --locale-provider=icu --icu-locale=en-US --no-sync >log 2>&1 &&
"$2"/postgres -D data -k "$1" -c listen_addresses= -c fsync=off -c max_connections=300 >>log 2>&1 &
job=$!
read -r _
until pid=$(head -n 1 data/postmaster.pid 2>/dev/null) && kill -INT "$pid" || ! kill -0 "$job"; do sleep 0.1; done 2>/dev/null
wait
rm -rf "$1"
`

// start starts a server and returns the directory of its socket.
func start() (string, error) {
	programs, err := find()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "sallyport-pg")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("/bin/sh", "-c", script, "sh", dir, programs)
	if lifeline, err = cmd.StdinPipe(); err != nil {
		return "", err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is not for it
	if os.Geteuid() == 0 {
		if cmd.SysProcAttr.Credential, err = demote(dir); err != nil {
			return "", err
		}
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	for range 1200 {
		if conn, err := pgx.Connect(context.Background(), url(dir, "postgres")); err == nil {
			_, err := conn.Exec(context.Background(), `CREATE DATABASE `+postgresTemplate)
			if err == nil {
				err = makeTables(url(dir, postgresTemplate))
			}
			return dir, errors.Join(err, conn.Close(context.Background()))
		}
		time.Sleep(50 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(dir, "log"))
	return "", fmt.Errorf("PostgreSQL does not start: %s", log)
}

// find returns the folder of the newest programs.
func find() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errMissing
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// demote gives dir to the user postgres, or nobody, since the server refuses
// to run as root.
func demote(dir string) (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, int(uid), int(gid))
}
