package account

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// networksKept is how many networks are known of an account.
	networksKept = 16
	// networkLife is how long a network is known after a password was right there.
	networkLife = 90 * 24 * time.Hour
	// noteEvery is how old what is noted may be before it is written again.
	noteEvery = 24 * time.Hour
	// networkFresh is how long what was read of a network is used. Other replicas
	// learn so late that somebody came from there.
	networkFresh = time.Minute
	// maxNamesAt bounds how many accounts are known at one network.
	maxNamesAt = 10_000
	// maxNamesKept bounds the cache of networks, in names and networks together.
	maxNamesKept = 200_000
)

// knownAt is who has come from a network, by folded name, and when that was
// noted.
type knownAt struct {
	read  time.Time
	names map[uint64]time.Time
}

func newNetworks() *otter.Cache[netip.Prefix, knownAt] {
	return otter.Must(&otter.Options[netip.Prefix, knownAt]{
		MaximumWeight: maxNamesKept,
		Weigher:       func(_ netip.Prefix, k knownAt) uint32 { return 1 + uint32(len(k.names)) },
	})
}

// noted returns when it was noted that the owner of an account came from a
// network, or zero. It asks the directory about the network, now and then, and
// never about the name: the work done does not depend on it.
func (s *Service) noted(ctx context.Context, at pair) (time.Time, error) {
	if !at.network.IsValid() {
		return time.Time{}, nil // from anywhere
	}
	known, ok := s.networks.GetIfPresent(at.network)
	if now := s.now(); !ok || now.Sub(known.read) >= networkFresh {
		names, err := s.dir.NamesAt(ctx, at.network.String(), now.Add(-networkLife), maxNamesAt)
		if err != nil {
			return time.Time{}, fmt.Errorf("find known networks: %w", err)
		}
		known = knownAt{read: now, names: make(map[uint64]time.Time, len(names))}
		for name, noted := range names {
			known.names[s.throttle.fold(name)] = noted
		}
		s.networks.Set(at.network, known)
	}
	return known.names[at.name], nil
}

// note remembers that a password was right from a network. A login does not
// fail for it.
func (s *Service) note(ctx context.Context, a Account, at pair, noted time.Time) {
	now := s.now()
	if !at.network.IsValid() || now.Sub(noted) < noteEvery {
		return
	}
	if err := s.dir.NoteNetwork(ctx, a.UID, at.network.String(), now, networksKept); err != nil {
		s.log.ErrorContext(ctx, "network not noted", "principal", a.Principal().String(), "err", err)
		return
	}
	s.networks.Invalidate(at.network)
}
