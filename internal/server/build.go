package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/blob/file"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/distribution"
	"github.com/sallyport/sallyport/internal/federation"
	"github.com/sallyport/sallyport/internal/federation/issuer"
	"github.com/sallyport/sallyport/internal/federation/ldap"
	"github.com/sallyport/sallyport/internal/federation/provider"
	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/internal/ui"
)

// rooms are what the server is made of. A field is nil until it is open.
type rooms struct {
	lock     *os.File
	db       *metadata.DB
	sinks    []*ledger.Sink
	ledger   *ledger.Recorder
	blobs    *file.Store
	accounts *account.Service
	tokens   *token.Service
	registry registry.Registry
	sweeper  *gc.Sweeper
	issuers  *issuer.Set
	// certificates is nil where no client authority is configured.
	certificates *federation.Certificates
	sealer       *token.Sealer
	providers    []*provider.Provider
	directories  []*ldap.Directory
}

// openRooms opens them from the bottom up; what is open when it fails, release
// closes.
func (s *Server) openRooms(ctx context.Context) error {
	c, r := s.config, &rooms{}
	s.rooms = r
	var err error
	if err := makePrivateDir(c.Data); err != nil {
		return err
	}
	if r.lock, err = lockDir(c.Data); err != nil {
		return err
	}
	if !c.InsecureHTTP && !c.ACME.AcceptTerms {
		if s.tls, s.caFile, err = newTLS(c, s.now, s.log); err != nil {
			return err
		}
	}
	if r.blobs, err = file.New(c.Data, file.Options{Logger: s.log}); err != nil {
		return cannot("give the data directory to the user that runs sallyport, or choose another with --data", "%w", err)
	}
	if r.sinks, err = openSinks(c.Audit, s.out, s.log); err != nil {
		return err
	}
	if r.db, err = openDatabase(ctx, c, metadata.Options{Logger: s.log, Now: s.now, Grace: c.GC.Grace, Recorded: toSinks(r.sinks)}); err != nil {
		return err
	}
	r.ledger = ledger.NewRecorder(r.db.Ledger(), ledger.RecorderOptions{Now: s.now, Logger: s.log})
	changes := r.db
	issuer := s.issuer()
	sealer, err := s.openSealer(ctx, r.db.Tokens())
	if err != nil {
		return err
	}
	r.sealer = sealer
	vouching, err := s.openVouching()
	if err != nil {
		return err
	}
	r.accounts = account.New(r.db.Directory(), changes, account.Options{
		Now: s.now, Logger: s.log, MaxKeyLife: c.Keys.MaxExpiry,
		MinPassword: c.Passwords.MinLength, Hosts: []string{s.service},
		Providers: vouching, Sealer: sealer,
	})
	if err := r.accounts.CheckProviders(ctx); err != nil {
		return cannot("see the names below login", "login: %w", err)
	}
	if err := s.openACME(sealer); err != nil {
		return err
	}
	if err := s.openClientAuthorities(); err != nil {
		return err
	}
	if err := s.openIssuers(); err != nil {
		return err
	}
	r.tokens, err = token.New(ctx, token.Deps{
		Store: r.db.Tokens(), Accounts: r.accounts, Policies: r.accounts, Changes: changes,
		Passwords: r.accounts.Passwords(), Keys: r.accounts.Keys(), Certificates: r.outsiders(), IDTokens: r.issuers, People: r.accounts, Sealer: sealer,
	}, token.Options{
		Issuer: issuer, Service: s.service, Services: c.Tokens.Services,
		Lifetime: c.Tokens.Lifetime, TestExpiry: c.Tokens.TestExpiry,
		SessionAbsolute: c.Tokens.SessionAbsolute, SessionIdle: c.Tokens.SessionIdle, JobSession: c.Tokens.JobSession,
		KeyRotation: c.Tokens.KeyRotation, KeyAhead: c.Tokens.KeyPublishAhead,
		PasswordUse: passwordUse(c.Passwords),
		Now:         s.now, Logger: s.log, Ledger: r.ledger,
	})
	if _, sealed := errors.AsType[*token.SealedError](err); sealed {
		return sealedElsewhere(err)
	}
	if err != nil {
		return err
	}
	if c.Tokens.TestExpiry > 0 {
		s.log.LogAttrs(ctx, slog.LevelWarn, "tokens.test_expiry is set: tokens end before clients expect it", slog.Duration("expiry", c.Tokens.TestExpiry))
	}
	r.registry = registry.New(r.db.Catalog(), r.blobs, registry.Options{Now: s.now, Logger: s.log})
	r.sweeper = gc.New(r.db.Sweeps(), r.blobs, gc.Options{Grace: c.GC.Grace, Now: s.now, Logger: s.log})
	return nil
}

func passwordUse(p config.Passwords) token.PasswordUse {
	if p.LoginOnly {
		return token.PasswordsLogIn
	}
	return token.PasswordsAnywhere
}

// databaseURL is what the configuration, or the file that it names, says.
func databaseURL(c config.Config) (config.DatabaseURL, error) {
	if c.DatabaseFile == "" {
		return c.Effective().Database, nil
	}
	line, err := readSecretLine("database_file", c.DatabaseFile)
	if err != nil {
		return config.DatabaseURL{}, err
	}
	url, err := config.NewDatabaseURL(line)
	if err != nil || url.IsZero() {
		return config.DatabaseURL{}, cannot("write the URL into the first line: postgres://USER:PASSWORD@HOST/NAME", "database_file: %s holds no database URL", c.DatabaseFile)
	}
	return url, nil
}

// openDatabase opens the database that c names.
func openDatabase(ctx context.Context, c config.Config, o metadata.Options) (*metadata.DB, error) {
	cure := "see whether the database runs, and check database or database_file"
	if c.Database.IsZero() && c.DatabaseFile == "" {
		cure = "see who else uses the data directory, or choose another with --data"
	}
	url, err := databaseURL(c)
	if err != nil {
		return nil, err
	}
	db, err := metadata.Open(ctx, url.Reveal(), o)
	if err != nil {
		return nil, cannot(cure, "%w", err)
	}
	return db, nil
}

// lockDir takes the exclusive right to the data directory, as the blob store
// demands. The right ends with the process, however it ends.
func lockDir(dir string) (*os.File, error) {
	const cure = "give the directory to the user that runs sallyport, or choose another with --data"
	f, err := os.OpenFile(filepath.Join(dir, "sallyport.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, cannot(cure, "data directory is not writable: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, cannot("stop it first, or choose another directory with --data", "data directory %s is held by another sallyport", dir)
		}
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	return f, nil
}

// doors returns the handlers that the front leads to.
func (r *rooms) doors(s *Server) doors {
	return doors{
		distribution: distribution.New(r.registry, r.tokens, distribution.Options{
			Realm: s.names.realm, Service: s.service, Logger: s.log,
			Ledger: r.ledger, OmitPulls: !s.config.Audit.Pulls,
		}),
		token: r.tokens.Endpoint(),
		jwks:  r.tokens.JWKS(),
		admin: admin.New(admin.Deps{
			Accounts: r.accounts, Tokens: r.tokens, Sweeper: r.sweeper, Gate: r.tokens,
			Book: r.db.Ledger(), Ledger: r.ledger, Issuers: r.issuers,
		}, admin.Options{Realm: s.names.realm, Service: s.service, AllowPrivate: s.config.Federation.AllowPrivate, Logger: s.log}),
		ui: ui.New(ui.Deps{
			Accounts: r.accounts, Passwords: r.accounts.Passwords(), Tokens: r.tokens,
			Providers: r.providers, Directories: r.directoryNames(), Sealer: r.sealer, Ledger: r.ledger,
		}, ui.Options{Base: s.names.base, Issuer: s.issuer(), Service: s.service, Now: s.now, Logger: s.log}),
	}
}

// probes are the parts that readiness asks.
func (r *rooms) probes() []probe {
	return []probe{{"database", r.db.Ping}, {"storage", r.blobs.Check}}
}

// close writes down what is still to be written, last uses and events before
// the database they go to.
func (r *rooms) close() error {
	var errs []error
	if r.tokens != nil {
		errs = append(errs, r.tokens.Close())
	}
	if r.issuers != nil {
		r.issuers.Close()
	}
	for _, d := range r.directories {
		d.Close()
	}
	if r.accounts != nil {
		errs = append(errs, r.accounts.Close())
	}
	if r.ledger != nil {
		errs = append(errs, r.ledger.Close())
	}
	if r.db != nil {
		errs = append(errs, r.db.Close())
	}
	for _, s := range r.sinks {
		errs = append(errs, s.Close())
	}
	if r.blobs != nil {
		errs = append(errs, r.blobs.Close())
	}
	if r.lock != nil {
		errs = append(errs, r.lock.Close())
	}
	return errors.Join(errs...)
}
