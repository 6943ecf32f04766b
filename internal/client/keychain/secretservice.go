//go:build unix && !darwin

package keychain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/godbus/dbus/v5"
)

// The Secret Service API of freedesktop.org, draft 0.2, which GNOME Keyring,
// KWallet and KeePassXC speak.
const (
	name = "Secret Service"

	busName    = "org.freedesktop.secrets"
	service    = "org.freedesktop.Secret.Service"
	collection = "org.freedesktop.Secret.Collection"
	item       = "org.freedesktop.Secret.Item"
	prompt     = "org.freedesktop.Secret.Prompt"
	root       = dbus.ObjectPath("/org/freedesktop/secrets")
	nothing    = dbus.ObjectPath("/")

	// patience is for a person who is asked to unlock it.
	patience = time.Minute
)

// A conversation is one encrypted session with the Secret Service.
type conversation struct {
	ctx     context.Context
	bus     *dbus.Conn
	session dbus.ObjectPath
	cipher  sessionCipher
}

// talk runs do in a session of its own.
func talk(do func(*conversation) error) error {
	address, err := busAddress()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	bus, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return ErrNone // a variable that was inherited, and no bus behind it
	}
	defer bus.Close()
	c := &conversation{ctx: ctx, bus: bus}
	if err := c.open(); err != nil {
		return err
	}
	return do(c)
}

// busAddress returns where the session's bus is. It starts none.
func busAddress() (string, error) {
	if a := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); a != "" {
		return a, nil
	}
	socket := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "bus")
	if info, err := os.Stat(socket); err != nil || !filepath.IsAbs(socket) || info.Mode()&os.ModeSocket == 0 {
		return "", ErrNone
	}
	return "unix:path=" + dbus.EscapeBusAddressValue(socket), nil
}

func (c *conversation) call(at dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return c.bus.Object(busName, at).CallWithContext(c.ctx, method, 0, args...)
}

// open agrees on a key, so that no other program on the bus sees a secret.
func (c *conversation) open() error {
	ours, err := newExchange()
	if err != nil {
		return err
	}
	var theirs dbus.Variant
	err = c.call(root, service+".OpenSession", algorithm, dbus.MakeVariant(ours.public())).Store(&theirs, &c.session)
	var refused dbus.Error
	if errors.As(err, &refused) && (refused.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || refused.Name == "org.freedesktop.DBus.Error.NameHasNoOwner") {
		return ErrNone
	}
	if err != nil {
		return fmt.Errorf("speak to the keychain: %w", err)
	}
	public, ok := theirs.Value().([]byte)
	if !ok {
		return errors.New("speak to the keychain: its public key is no bytes")
	}
	c.cipher, err = ours.agree(public)
	return err
}

// home returns the collection that secrets go to, unlocked.
func (c *conversation) home() (dbus.ObjectPath, error) {
	var at dbus.ObjectPath
	if err := c.call(root, service+".ReadAlias", "default").Store(&at); err != nil {
		return "", fmt.Errorf("find the keychain's collection: %w", err)
	}
	if at == nothing {
		return "", ErrNone
	}
	return at, c.unlock(at)
}

// unlock asks the person where that is needed.
func (c *conversation) unlock(at dbus.ObjectPath) error {
	var unlocked []dbus.ObjectPath
	var ask dbus.ObjectPath
	if err := c.call(root, service+".Unlock", []dbus.ObjectPath{at}).Store(&unlocked, &ask); err != nil {
		return fmt.Errorf("unlock the keychain: %w", err)
	}
	return c.ask(ask)
}

// ask waits for the answer to a prompt; "/" needs none.
func (c *conversation) ask(at dbus.ObjectPath) error {
	if at == nothing {
		return nil
	}
	answered := []dbus.MatchOption{dbus.WithMatchObjectPath(at), dbus.WithMatchInterface(prompt), dbus.WithMatchMember("Completed")}
	if err := c.bus.AddMatchSignalContext(c.ctx, answered...); err != nil {
		return fmt.Errorf("unlock the keychain: %w", err)
	}
	signals := make(chan *dbus.Signal, 8)
	c.bus.Signal(signals)
	defer c.bus.RemoveSignal(signals)
	if err := c.call(at, prompt+".Prompt", "").Err; err != nil {
		return fmt.Errorf("unlock the keychain: %w", err)
	}
	for {
		select {
		case s := <-signals:
			if s == nil {
				return errors.New("the keychain went away")
			}
			if s.Path != at || s.Name != prompt+".Completed" || len(s.Body) == 0 {
				continue
			}
			if dismissed, ok := s.Body[0].(bool); !ok || dismissed {
				return errors.New("the keychain was not unlocked")
			}
			return nil
		case <-c.ctx.Done():
			return errors.New("the keychain was not unlocked in time")
		}
	}
}

// attributes are what an entry is found by. None of them is secret.
func attributes(key string) map[string]string {
	return map[string]string{"application": "sallyport", "key": key}
}

// find returns the entries of a key.
func (c *conversation) find(key string) ([]dbus.ObjectPath, error) {
	var open, locked []dbus.ObjectPath
	if err := c.call(root, service+".SearchItems", attributes(key)).Store(&open, &locked); err != nil {
		return nil, fmt.Errorf("search the keychain: %w", err)
	}
	for _, at := range locked {
		if err := c.unlock(at); err != nil {
			return nil, err
		}
		open = append(open, at)
	}
	return open, nil
}

func set(key, secret string) error {
	return talk(func(c *conversation) error {
		at, err := c.home()
		if err != nil {
			return err
		}
		sealed, err := c.cipher.seal(c.session, secret)
		if err != nil {
			return err
		}
		properties := map[string]dbus.Variant{
			item + ".Label":      dbus.MakeVariant(label),
			item + ".Attributes": dbus.MakeVariant(attributes(key)),
		}
		var made, ask dbus.ObjectPath
		if err := c.call(at, collection+".CreateItem", properties, sealed, true).Store(&made, &ask); err != nil {
			return fmt.Errorf("keep a secret in the keychain: %w", err)
		}
		return c.ask(ask)
	})
}

func get(key string) (string, error) {
	var secret string
	err := talk(func(c *conversation) error {
		found, err := c.find(key)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ErrUnknown
		}
		var s sealed
		if err := c.call(found[0], item+".GetSecret", c.session).Store(&s); err != nil {
			return fmt.Errorf("read the keychain: %w", err)
		}
		secret, err = c.cipher.open(s)
		return err
	})
	return secret, err
}

func remove(key string) error {
	return talk(func(c *conversation) error {
		found, err := c.find(key)
		for _, at := range found {
			var ask dbus.ObjectPath
			if err := c.call(at, item+".Delete").Store(&ask); err != nil {
				return fmt.Errorf("remove from the keychain: %w", err)
			}
			if err := c.ask(ask); err != nil {
				return err
			}
		}
		return err
	})
}
