package metadata

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver
)

// sqlite has one connection that writes, a few that read, and the right to
// the file.
type sqlite struct {
	*batchWriter
	pool  *sql.DB // of the writer's one connection
	reads *sql.DB
	lock  *os.File
}

// openSQLite makes db one on the file that rest, the URL after "sqlite:", names.
func openSQLite(ctx context.Context, db *DB, rest string) (err error) {
	if trimmed, ok := strings.CutPrefix(rest, "//"); ok {
		rest = trimmed
	}
	if rest == "" || strings.ContainsRune(rest, 0) {
		return errors.New("no path after sqlite: in the URL")
	}
	path, err := filepath.Abs(rest)
	if err != nil {
		return err
	}
	s := &sqlite{}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.lock, err = lockFile(path + ".lock"); err != nil {
		return err
	}
	if err := makeFile(path); err != nil {
		return err
	}
	if s.pool, err = sql.Open("sqlite", sqliteDSN(path, "synchronous(full)", "journal_size_limit(67108864)", "secure_delete(fast)")); err != nil {
		return err
	}
	s.pool.SetMaxOpenConns(1)
	files, err := ours(goose.DialectSQLite3)
	if err != nil {
		return err
	}
	if err := migrate(ctx, goose.DialectSQLite3, s.pool, files); err != nil {
		return err
	}
	conn, err := s.pool.Conn(ctx)
	if err != nil {
		return err
	}
	s.batchWriter = newBatchWriter(db, s.pool, conn)
	if s.reads, err = sql.Open("sqlite", sqliteDSN(path, "query_only(1)")); err != nil {
		return err
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	s.reads.SetMaxOpenConns(readers)
	s.reads.SetMaxIdleConns(readers)
	db.engine, db.cache = s, newCache()
	db.reads = &tx{db: db, to: &prepared{on: s.reads}}
	return db.gen.pin(ctx, db.reads)
}

// sqliteDSN returns the data source name of path. busy_timeout comes first, so
// that the change to WAL waits if it must.
func sqliteDSN(path string, pragmas ...string) string {
	all := append([]string{"busy_timeout(5000)", "journal_mode(wal)", "foreign_keys(1)"}, pragmas...)
	file := url.URL{Scheme: "file", OmitHost: true, Path: path}
	return file.String() + "?_dqs=0&_defensive=1&" + url.Values{"_pragma": all}.Encode()
}

// lockFile takes the exclusive right to the database. The right ends with the
// process, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o600); err != nil {
		f.Close()
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is held by another sallyport: stop it first, or use another data directory", path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// makeFile makes the database file before SQLite would, for its mode: SQLite
// gives the files beside it the same one, whatever the umask.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// detach: a statement that is interrupted midway costs more than it saves,
// since each would need a goroutine to watch the context; reads are short.
func (s *sqlite) detach(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// announce: nobody else has the database.
func (s *sqlite) announce(context.Context, *tx) error { return nil }

func (s *sqlite) close() error {
	s.batchWriter.stop()
	var err error
	if s.lost {
		err = s.replace()
	}
	if err == nil {
		_, err = s.conn.ExecContext(context.Background(), `PRAGMA wal_checkpoint(TRUNCATE)`)
	}
	return errors.Join(classify(err), s.release())
}

// release closes what is open, the lock last.
func (s *sqlite) release() error {
	var errs []error
	if s.reads != nil {
		errs = append(errs, s.reads.Close())
	}
	if s.batchWriter != nil {
		s.to.close()
		errs = append(errs, s.conn.Close())
	}
	if s.pool != nil {
		errs = append(errs, s.pool.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
