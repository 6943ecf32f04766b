package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// A socket is an address of the configuration, opened: one listener, or two for
// localhost.
type socket []net.Listener

// listen opens address; key names its setting in messages. "localhost" is
// 127.0.0.1 and, where the machine has IPv6, [::1] with the same port: a client
// may try either first, and nobody else shall answer there.
func listen(ctx context.Context, key, address string) (socket, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, cannot("write HOST:PORT", "%s: %w", key, err)
	}
	if host != "localhost" {
		l, err := listenOne(ctx, key, address)
		if err != nil {
			return nil, err
		}
		return socket{l}, nil
	}
	// With port 0 the port that IPv4 got may be taken on IPv6: try another.
	for attempt := 0; ; attempt++ {
		s, err := listenLocalhost(ctx, key, port)
		if port != "0" || attempt == 10 || !errors.Is(err, syscall.EADDRINUSE) {
			return s, err
		}
	}
}

func listenLocalhost(ctx context.Context, key, port string) (socket, error) {
	four, err := listenOne(ctx, key, net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, err
	}
	s := socket{four}
	six, err := listenOne(ctx, key, net.JoinHostPort("::1", portOf(s.addresses()[0])))
	switch {
	case err == nil:
		return append(s, six), nil
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return s, nil
	}
	s.close()
	return nil, err
}

func listenOne(ctx context.Context, key, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, cannot("stop the process that uses it, or choose another address with "+flagOf(key), "%s: %s: %w", key, address, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EACCES):
		return nil, cannot("choose a port above 1023, or give the process the capability to bind it", "%s: not allowed to listen on %s", key, address)
	}
	return nil, cannot("choose an address of this machine with "+flagOf(key), "%s: %w", key, err)
}

// flagOf returns the flag for a setting, or the setting where there is none.
func flagOf(key string) string {
	switch key {
	case "listen":
		return "--listen"
	case "health.listen":
		return "--health-listen"
	}
	return key
}

func (s socket) addresses() []netip.AddrPort {
	out := make([]netip.AddrPort, len(s))
	for i, l := range s {
		a := l.Addr().(*net.TCPAddr).AddrPort()
		out[i] = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return out
}

// loopback reports whether only this machine can reach the socket.
func (s socket) loopback() bool {
	for _, a := range s.addresses() {
		if !a.Addr().IsLoopback() {
			return false
		}
	}
	return true
}

// name returns the address as a person writes it: the configured host with the
// port that was really opened.
func (s socket) name(configured string) string {
	host, _, err := net.SplitHostPort(configured)
	if err != nil {
		return configured
	}
	return net.JoinHostPort(host, portOf(s.addresses()[0]))
}

func (s socket) close() {
	for _, l := range s {
		l.Close()
	}
}

func portOf(a netip.AddrPort) string { return strconv.Itoa(int(a.Port())) }
